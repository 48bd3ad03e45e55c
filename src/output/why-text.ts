import type { Why } from '../engine/why.js'
import type { AwaitedLock, Holder, SomeEvidence, WorkerPlace } from '../engine/why-evidence.js'
import chalk, { colorState } from './color.js'
import { sayDuration } from './duration.js'
import { plain, plainTopic } from './plain.js'
import { lastCell } from './table.js'

type Fact = [name: string, value: string]

/** The reason, what it rests on one fact a line, and the way out. */
export function whyText({ state, message, evidence, fix }: Why): string {
  const e = evidence as SomeEvidence
  const facts: Fact[] = [['state', colorState(state)], ...when(e), ...who(e), ...load(e)]
  if (e.errors) facts.push(['error', lastCell(e.errors, 64)])
  return [
    chalk.bold(plain(message).replaceAll('\n', ' ')),
    ...facts.map(([name, value]) => `  ${chalk.dim(name.padEnd(11))} ${value}`),
    ...(fix === null ? [] : [`Try this: ${plain(fix)}`]),
  ].join('\n')
}

function when(e: SomeEvidence): Fact[] {
  return [
    ...at('due', e.run_at),
    ...at('free again', e.until),
    ...at('last seen', e.last_seen_at),
    ...at('started', e.started_at),
    ...at('closed', e.closed_at),
  ]
}

function who(e: SomeEvidence): Fact[] {
  return [
    ...(e.worker ? [worker(e.worker)] : []),
    ...(e.waits_for ? [['waits for', lock(e.waits_for)] as Fact] : []),
    ...(e.blocked_by ?? []).map((h): Fact => ['held by', holder(h)]),
    ...(e.supervisors ?? []).map((s): Fact => ['supervisor', `${s.host}/${s.pid}${topics(s.topics)}`]),
  ]
}

function load(e: SomeEvidence): Fact[] {
  const tasks = e.tasks ?? []
  const facts = tasks.map((t): Fact => ['running', `task ${t.task_id}, started ${distance(t.since)}`])
  if (e.running !== undefined && e.limit !== undefined)
    facts.push(['limit', `${e.running} of ${e.limit} run`])
  if (e.resting) facts.push(['resting', `${e.resting} of ${e.limit}`])
  if (e.workers !== undefined) facts.push(['workers', `${e.workers} may run it, ${e.busy} busy`])
  return facts
}

/** How far an instant is from now by this host's clock. */
function distance(instant: string): string {
  const seconds = (Date.parse(instant) - Date.now()) / 1000
  return seconds > 0 ? `in ${sayDuration(seconds)}` : `${sayDuration(-seconds)} ago`
}

function at(name: string, instant: string | null | undefined): Fact[] {
  if (!instant) return []
  const isFar = Number.isNaN(Date.parse(instant))
  return [[name, isFar ? instant : `${distance(instant)}, at ${instant.replace(/\.\d+/, '')}`]]
}

const lock = ({ lock, mode, relation }: AwaitedLock): string =>
  `${mode} on ${relation ? `${plain(relation)} (${lock})` : lock}`

function holder({ pid, role, application_name, state, since, task_id }: Holder): string {
  return [
    pid === 0 ? 'a prepared transaction' : `backend ${pid}`,
    ...(task_id === null ? [] : [`task ${task_id}`]),
    ...[role, application_name, state].filter((text) => text).map((text) => plainTopic(text!)),
    ...(since ? [`begun ${distance(since)}`] : []),
  ].join(', ')
}

function topics(names: string[] | null): string {
  if (names === null) return ''
  return `, only ${names.map((name) => (name === '' ? '(no topic)' : plainTopic(name))).join(', ')}`
}

function worker({ host, pid, backend_pid, ...rest }: WorkerPlace & { id?: bigint }): Fact {
  return ['worker', `${rest.id === undefined ? '' : `${rest.id}, `}${host}/${pid}, backend ${backend_pid}`]
}
