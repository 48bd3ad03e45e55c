import Table from 'cli-table3'
import { sayDuration } from '#pgbq/output/duration'
import type { Outcome } from './outcome.js'
import type { PeersOptions } from './peers-options.js'

const HEAD = [
  'queue',
  'tasks',
  'kill -9 mid-task',
  'finished',
  'effect lost',
  'run twice',
  'stuck at the end',
  'killed task runs again after (p50 / p95 / max)',
]

/** How a table came about, in a line that repeats it. */
export interface Origin {
  commit: string
  /** such as 2026-11-25 */
  date: string
  postgres: string
}

const cells = (outcome: Outcome, watchMs: number): string[] => [
  `${outcome.name} ${outcome.version}`,
  String(outcome.tasks),
  String(outcome.kills - outcome.unharmed),
  String(outcome.finished),
  String(outcome.missing),
  String(outcome.twice),
  outcome.failed === 0 ? String(outcome.stuck) : `${outcome.stuck} (and ${outcome.failed} failed)`,
  sayRecovery(outcome, watchMs),
]

/** What was seen; where nothing was, what the documentation says. */
function sayRecovery({ recovery, stuck, documented }: Outcome, watchMs: number): string {
  const { count, p50, p95, max } = recovery
  const seen = [p50, p95, max].map((seconds) => sayDuration(seconds ?? 0)).join(' / ')
  const unseen = `not within ${sayDuration(watchMs / 1000)} (documented: ${documented})`
  if (count === 0) return stuck === 0 ? '–' : unseen
  return stuck === 0 ? seen : `${seen}; ${stuck} ${unseen}`
}

export function peersTable(outcomes: Outcome[], watchMs: number): string {
  const table = new Table({ head: HEAD, style: { head: [], border: [] }, wordWrap: true })
  table.push(...outcomes.map((outcome) => cells(outcome, watchMs)))
  return table.toString()
}

/** The table for the README, and below it how to repeat it. */
export function peersMarkdown(outcomes: Outcome[], options: PeersOptions, origin: Origin): string {
  const line = (values: string[]): string => `| ${values.join(' | ')} |`
  return [
    line(HEAD),
    line(HEAD.map((_, i) => (i === 0 ? '---' : '--:'))),
    ...outcomes.map((outcome) => line(cells(outcome, options.watchMs))),
    '',
    `\`${command(options)}\` at commit ${origin.commit} on ${origin.date}, PostgreSQL ${origin.postgres}.`,
  ].join('\n')
}

function command({ tasks, kills, workers, watchMs, seed }: PeersOptions): string {
  return `npm run bench:peers -- --tasks ${tasks} --kills ${kills} --workers ${workers} --watch ${watchMs / 1000}s --seed ${seed}`
}
