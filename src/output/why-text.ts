import type { Evidence, Why } from '../engine/why.js'
import chalk, { colorState } from './color.js'
import { sayDuration } from './duration.js'
import { plain, plainTopic } from './plain.js'
import { oneLine } from './table.js'

type Fact = [name: string, value: string]

/** The reason, its evidence one fact a line, and the way out. */
export function whyText({ state, message, evidence, fix }: Why): string {
  const lines = facts(evidence).map(([name, value]) => `  ${chalk.dim(name.padEnd(10))} ${value}`)
  const head = chalk.bold(plain(message).replace(/\n/g, '\\n'))
  return [
    head,
    `  ${chalk.dim('state'.padEnd(10))} ${colorState(state)}`,
    ...lines,
    ...(fix === null ? [] : [`Try this: ${plain(fix)}`]),
  ].join('\n')
}

function facts(e: Evidence): Fact[] {
  return [
    ...time('run at', e.run_at),
    ...time('until', e.until),
    ...(e.waits_for ? [['waits for', lock(e.waits_for)] as Fact] : []),
    ...list(e.blocked_by).map((h): Fact => ['held by', holder(h)]),
    ...list(e.tasks).map((t): Fact => ['running', `task ${t.task_id}, started ${ago(t.since)}`]),
    ...(e.running > list(e.tasks).length && e.tasks
      ? [['running', `${e.running} tasks in all`] as Fact]
      : []),
    ...(e.resting > 0
      ? [['resting', `${e.resting} ${e.resting === 1 ? 'place' : 'places'} of ${e.limit}`] as Fact]
      : []),
    ...(e.workers === undefined ? [] : [['workers', `${e.workers} for it, ${e.busy} busy`] as Fact]),
    ...(e.ahead === undefined ? [] : [['limit', `${e.running} of ${e.limit} tasks run`] as Fact]),
    ...list(e.supervisors).map((s): Fact => ['supervisor', `${s.host}/${s.pid}${topics(s.topics)}`]),
    ...time('last seen', e.last_seen_at),
    ...worker(e.worker),
    ...time('started', e.started_at),
    ...time('closed', e.closed_at),
    ...(e.errors ? [['error', oneLine(e.errors, 65)] as Fact] : []),
  ]
}

const list = (value: unknown): any[] => (Array.isArray(value) ? value : [])

const ago = (instant: string): string => sayDistance((Date.parse(instant) - Date.now()) / 1000)

/** An instant, and how far it is from now by this host's clock. */
function time(name: string, instant: string | null | undefined): Fact[] {
  if (!instant) return []
  const short = instant.replace('T', ' ').replace(/\.\d+/, '')
  const seconds = (Date.parse(instant) - Date.now()) / 1000
  return [[name, Number.isNaN(seconds) ? instant : `${short} (${sayDistance(seconds)})`]]
}

const sayDistance = (seconds: number): string =>
  seconds > 0 ? `in ${sayDuration(seconds)}` : `${sayDuration(-seconds)} ago`

const lock = ({ lock, mode, relation }: Evidence): string =>
  `${mode} on ${relation ? `${plain(relation)} (${lock})` : lock}`

function holder({ pid, role, application_name, state, since, task_id }: Evidence): string {
  return [
    pid === 0 ? 'a prepared transaction' : `backend ${pid}`,
    ...(task_id === null ? [] : [`task ${task_id}`]),
    ...[role, application_name, state].filter(Boolean).map((text) => plainTopic(text)),
    ...(since ? [`in a transaction begun ${ago(since)}`] : []),
  ].join(', ')
}

function topics(names: string[] | null): string {
  if (names === null) return ''
  return `, only ${names.map((name) => (name === '' ? '(no topic)' : plainTopic(name))).join(', ')}`
}

function worker(value: Evidence | null | undefined): Fact[] {
  if (!value) return []
  const id = value.id === undefined ? '' : `${value.id} on `
  return [['worker', `${id}${value.host}/${value.pid}, backend ${value.backend_pid}`]]
}
