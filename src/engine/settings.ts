import type { Database, Row } from './database/database.js'
import { usageError } from './errors.js'
import { namedQuery } from './sql-files.js'

/** What claims obey for a topic now. */
export interface TopicLimits {
  limit: number
  delay_in_sec: number
  paused: boolean
}

export interface LaneLimits {
  lane: string
  max_running: number | null
  delay_in_sec: number | null
  paused: boolean | null
}

/** The limits in force: of the queue, and of the topics that have their own (null: tasks without topic). */
export async function readLanes(
  database: Database,
): Promise<{ queue: TopicLimits; topics: Map<string | null, TopicLimits> }> {
  const rows = await database.query<LaneLimits & Row>(
    'select lane, max_running, delay_in_sec, paused from background_queue.lanes where not implicit order by lane',
  )
  return effectiveLimits(rows)
}

/** The limits in force that rows of background_queue.lanes say. */
export function effectiveLimits(rows: LaneLimits[]): {
  queue: TopicLimits
  topics: Map<string | null, TopicLimits>
} {
  const whole = rows.find((r) => r.lane === '')!
  const queue = { limit: whole.max_running!, delay_in_sec: whole.delay_in_sec!, paused: whole.paused! }
  const topics = new Map<string | null, TopicLimits>()
  for (const { lane, max_running, delay_in_sec, paused } of rows) {
    if (lane === '') continue
    topics.set(laneTopic(lane), {
      limit: Math.min(max_running ?? queue.limit, queue.limit),
      delay_in_sec: delay_in_sec ?? queue.delay_in_sec,
      paused: queue.paused || (paused ?? false),
    })
  }
  return { queue, topics }
}

/** The topic of a lane: null for tasks without topic. The lane '' is the whole queue and has none. */
export function laneTopic(lane: string): string | null {
  return lane === '/' ? null : lane.slice(1)
}

/** One parameter in force. topic null: the whole queue; '' tasks without topic. */
export interface Parameter {
  name: string
  topic: string | null
  value: number | boolean
  source: string
  capped?: true
}

export interface SettingProblem extends Row {
  source: string
  lane: string | null
  name: string | null
  value: string
  expected: string
}

export async function readParameters(database: Database): Promise<Parameter[]> {
  const rows = await database.query<{ lane: string; name: string; value: string; source: string }>(
    namedQuery('settings'),
  )
  const cap = Number(rows.find((r) => r.lane === '' && r.name === 'max_parallel_running_tasks_count')?.value)
  return rows.map(({ lane, name, value, source }) => ({
    name,
    topic: lane === '' ? null : lane.slice(1),
    value: name === 'paused' ? value === 'true' : Number(value),
    source,
    ...(lane !== '' && name === 'max_parallel_running_tasks_count' && Number(value) > cap
      ? { capped: true }
      : {}),
  }))
}

export function readProblems(database: Database): Promise<SettingProblem[]> {
  return database.query<SettingProblem>(namedQuery('setting_problems'))
}

/**
 * Refuses a value that nobody could obey. Errors: UNKNOWN_PARAMETER, INVALID_VALUE, also for a topic's value of a
 * parameter that only the whole queue has.
 */
export async function checkParameter(
  database: Database,
  lane: string,
  name: string,
  value: string,
): Promise<void> {
  const known = await database.query<{ name: string; per_topic: boolean; refusal: string | null }>(
    'select name, per_topic, background_queue.refusal(name, $1) as refusal from background_queue.parameters()',
    [value],
  )
  const parameter = known.find((p) => p.name === name)
  if (parameter === undefined) throw unknownParameter(name, known)
  if (lane !== '' && !parameter.per_topic) {
    throw usageError(
      'INVALID_VALUE',
      `The parameter "${name}" is the whole queue's, no topic has its own`,
      `pgbq config set ${name} ${value}`,
    )
  }
  if (parameter.refusal !== null)
    throw usageError('INVALID_VALUE', `Expected ${name} to be ${parameter.refusal}, got "${value}"`)
}

export function unknownParameter(name: string, known: { name: string }[]): Error {
  const names = [...new Set(known.map((p) => p.name))].join(', ')
  return usageError('UNKNOWN_PARAMETER', `No parameter is named "${name}"`, `use one of ${names}`)
}

/** Stores one value for the queue (lane '') or a topic's lane, null removes it. Errors: as checkParameter. */
export async function storeParameter(
  database: Database,
  lane: string,
  name: string,
  value: string | null,
): Promise<void> {
  if (value !== null) await checkParameter(database, lane, name, value)
  await database.query('select background_queue.set_parameter($1, $2, $3)', [lane, name, value])
}
