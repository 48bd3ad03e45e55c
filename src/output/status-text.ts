import type { Row } from '../engine/database/database.js'
import type { QueueStatus, StateCounts, TopicStatus } from '../engine/status.js'
import chalk, { colorState, TASK_STATES } from './color.js'
import { sayDuration } from './duration.js'
import { plain } from './plain.js'
import { lastCell, renderTable, topicCell } from './table.js'
import { sayTime, type TimeStyle } from './time.js'

/** The queue at a glance, for people. */
export function statusText(status: QueueStatus, times?: TimeStyle): string {
  const parts = [workersText(status, times)]
  if (status.oldest_due_sec !== null)
    parts.push(`Oldest due task: waiting for ${sayDuration(status.oldest_due_sec)}`)
  for (const { role, count } of status.supervisors.length > 0 ? status.stranded_roles : []) {
    parts.push(chalk.yellow(`No worker runs tasks of role "${plain(String(role))}": ${count} due`))
  }
  if (status.failures.length > 0) parts.push(failuresTable(status.failures, times))
  const below = parts.join('\n\n')
  const room = process.stdout.isTTY ? (process.stdout.rows || 24) - below.split('\n').length : undefined
  return `${topicsTable(status, room)}\n\n${below}`
}

/** The head, the other topics, the sum, the way to all of them, a blank line, the prompt. */
const ROWS_BESIDE = 6
const LEAST_TOPICS = 8

/** `room`: rows of a terminal for it. */
function topicsTable({ topics, states }: QueueStatus, room = Number.POSITIVE_INFINITY): string {
  if (topics.length === 0) return "No tasks. Try this: pgbq enqueue 'SELECT 1'"
  const shown = busiest(topics, Math.max(room - ROWS_BESIDE, LEAST_TOPICS))
  const others = topics.filter((t) => !shown.includes(t))
  const rows = shown.map((t) => [
    t.topic === null ? chalk.dim('(no topic)') : topicCell(t.topic),
    ...counts(t.states),
    `${t.limit}${t.paused ? ' paused' : ''}${t.delay_in_sec > 0 ? ` every ${t.delay_in_sec} s` : ''}`,
  ])
  if (others.length > 0)
    rows.push([chalk.dim(`${others.length} others`), ...counts(sum(others.map((t) => t.states))), ''])
  const table = renderTable(
    ['topic', ...TASK_STATES, 'limit'],
    [...rows, [chalk.bold('all'), ...counts(states), '']],
    { flexible: [0], right: TASK_STATES.map((_, i) => i + 1) },
  )
  return others.length === 0
    ? table
    : `${table}\nTo see the others: pgbq status --watch, or pgbq status | less`
}

const counts = (states: StateCounts): string[] =>
  TASK_STATES.map((state) =>
    states[state] === 0 ? chalk.dim('0') : colorState(state, String(states[state])),
  )

function sum(all: StateCounts[]): StateCounts {
  const of = (state: keyof StateCounts) => all.reduce((n, states) => n + states[state], 0)
  return Object.fromEntries(TASK_STATES.map((state) => [state, of(state)])) as StateCounts
}

/** Topics in which most waits or runs, then in which most failed; in the order in which all of them come. */
function busiest(topics: TopicStatus[], most: number): TopicStatus[] {
  // where all fit, there is no sum of the others, and no way to them
  if (topics.length <= most + 2) return topics
  const open = ({ states }: TopicStatus) => states.pending + states.running + states.retrying
  const ranked = [...topics].sort((a, b) => open(b) - open(a) || b.states.failed - a.states.failed)
  const chosen = new Set(ranked.slice(0, most))
  return topics.filter((topic) => chosen.has(topic))
}

function workersText({ workers, supervisors }: QueueStatus, times?: TimeStyle): string {
  if (supervisors.length === 0) return 'No supervisor is alive. Try this: pgbq work'
  const rows = workers.map((w) => [
    String(w.id),
    `${w.host}/${w.pid}`,
    plain(String(w.role)),
    w.state === 'running' ? colorState('running', `task ${w.task_id}`) : String(w.state),
    sayTime(String(w.since), times),
  ])
  const head = `${supervisors.length} supervisor${supervisors.length === 1 ? '' : 's'}, ${workers.length} worker${workers.length === 1 ? '' : 's'}`
  return rows.length === 0
    ? head
    : `${head}\n${renderTable(['worker', 'host/pid', 'role', 'state', 'since'], rows, { flexible: [1, 2] })}`
}

function failuresTable(failures: Row[], times?: TimeStyle): string {
  return renderTable(
    ['failed', 'topic', 'at', 'error'],
    failures.map((f) => [
      String(f.id),
      topicCell(String(f.topic ?? '')),
      sayTime(String(f.closed_at), times),
      lastCell(String(f.errors), 70),
    ]),
    { flexible: [1, 3] },
  )
}
