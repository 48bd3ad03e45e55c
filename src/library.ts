import { cancelTask } from './engine/acting/cancel.js'
import { retryOrThrow } from './engine/acting/retry.js'
import { callerSession } from './engine/database/caller.js'
import type { CallerConnection } from './engine/database/caller-connection.js'
import { notInstalled } from './engine/database/errors.js'
import type { Session } from './engine/database/session.js'
import { parseTime } from './engine/duration.js'
import { QueueError, usageError } from './engine/errors.js'
import { findQueue } from './engine/queue-place.js'
import { checkSql } from './engine/task-sql.js'
import * as store from './engine/task-store.js'

export type { CallerConnection }
export { QueueError }

/** Options of a task; each that is left out is decided by the topic, then the queue. */
export interface EnqueueOptions {
  topic?: string | null | undefined
  /** lower runs first; -2147483648 to 2147483647 */
  priority?: number | undefined
  /** not before; a text is ISO 8601, without an offset in this process's zone */
  runAt?: Date | string | undefined
  /** retries after errors, 0 to 1000 */
  maxRetries?: number | undefined
  /** an attempt is ended after so long; 0: never */
  timeoutInSec?: number | undefined
  /** adds nothing while a task of this key waits or runs; 1 to 500 characters */
  uniqueKey?: string | undefined
  mode?: 'auto' | 'transaction' | 'autocommit' | undefined
  isolation?: 'read committed' | 'repeatable read' | 'serializable' | undefined
}

export interface NewTask extends EnqueueOptions {
  sql: string
}

/** `existing`: the unique key was there, nothing was added, and `id` is that task's. */
export interface Enqueued {
  id: bigint
  existing: boolean
}

/** Ids of what was added, both null where nothing was. Tasks whose unique key was there are not counted. */
export interface ManyEnqueued {
  first: bigint | null
  last: bigint | null
  count: bigint
}

/** What `cancel` or `retry` did. `state`: now, null if there is no such task, or none that this role may see. */
export interface Outcome {
  id: bigint
  done: boolean
  state: string | null
  message: string
}

/** A row of pg_background_tasks; instants are ISO 8601 in UTC. More keys may come. */
export interface Task {
  id: bigint
  sql_statement: string
  topic: string | null
  joined_at: string
  started_at: string | null
  closed_at: string | null
  priority: number
  state: string
  retry_count: number
  errors: string | null
  run_at: string
  enqueued_by: string
  command_tag: string | null
  rows_affected: bigint | null
}

/**
 * Adds a task in the connection's open transaction: gone with its rollback, started at its commit. Blank SQL, unknown
 * options and bad times are refused before anything is sent, so that the transaction stays usable.
 * Errors: QueueError BLANK_SQL, NUL_BYTE, INVALID_TOPIC, INVALID_OPTION, INVALID_TIME, NOT_INSTALLED, NOT_ALLOWED,
 * READ_ONLY; what else the server says as `pg` throws it.
 */
export function enqueue(
  connection: CallerConnection,
  sql: string,
  options: EnqueueOptions = {},
): Promise<Enqueued> {
  return asked(() => store.enqueue(callerSession(connection), toTask(sql, options)))
}

/** Adds tasks in one statement, all or nothing. Errors: those of `enqueue`. */
export function enqueueMany(connection: CallerConnection, tasks: NewTask[]): Promise<ManyEnqueued> {
  return asked(() => {
    const rows = tasks.map(({ sql, ...options }) => toTask(sql, options))
    return store.enqueueMany(callerSession(connection), rows)
  })
}

/** Cancels a waiting task with this transaction's commit; asks for the end of a running one. Errors: INVALID_ID. */
export async function cancel(connection: CallerConnection, id: bigint | string): Promise<Outcome> {
  const number = store.parseId(String(id))
  const session = callerSession(connection)
  return cancelTask(session, await schemaOf(session), number)
}

/** Makes a failed or cancelled task pending with this transaction's commit. Errors: INVALID_ID, RETRY_REFUSED. */
export async function retry(connection: CallerConnection, id: bigint | string): Promise<Outcome> {
  const number = store.parseId(String(id))
  const session = callerSession(connection)
  return retryOrThrow(session, await schemaOf(session), number)
}

/** One task, as this transaction sees it. Errors: INVALID_ID, UNKNOWN_TASK. */
export async function findTask(connection: CallerConnection, id: bigint | string): Promise<Task> {
  const number = store.parseId(String(id))
  const session = callerSession(connection)
  return store.findTask(session, await schemaOf(session), number)
}

async function schemaOf(session: Session): Promise<string> {
  const found = await findQueue(session)
  if (found === undefined) throw notInstalled('the database of this connection')
  return found.schema
}

/** Mistakes of the caller come as rejections too. */
const asked = async <T>(ask: () => Promise<T>): Promise<T> => ask()

const NAMES: Record<Exclude<keyof EnqueueOptions, 'topic'>, keyof store.TaskOptions> = {
  priority: 'priority',
  runAt: 'run_at',
  maxRetries: 'max_retries',
  timeoutInSec: 'timeout_in_sec',
  uniqueKey: 'unique_key',
  mode: 'mode',
  isolation: 'isolation',
}

function toTask(sql: string, { topic, ...options }: EnqueueOptions): store.NewTask {
  const entries = Object.entries(options).map(([key, value]) => [nameOf(key), value])
  const runAt = options.runAt === undefined ? {} : { run_at: toIso(options.runAt) }
  return { sql: checkSql(sql), topic, options: { ...Object.fromEntries(entries), ...runAt } }
}

function nameOf(key: string): string {
  const name = Object.hasOwn(NAMES, key) ? NAMES[key as keyof typeof NAMES] : undefined
  if (name !== undefined) return name
  throw usageError(
    'INVALID_OPTION',
    `Unknown option "${key}"`,
    `Known are topic, ${Object.keys(NAMES).join(', ')}`,
  )
}

function toIso(time: Date | string): string {
  if (typeof time === 'string') return parseTime(time, 'runAt')
  if (!Number.isNaN(time.getTime())) return time.toISOString()
  throw usageError('INVALID_TIME', 'Expected runAt to be a time, got an invalid Date')
}
