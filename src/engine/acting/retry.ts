import type { Database } from '../database/database.js'
import type { Session } from '../database/session.js'
import { QueueError } from '../errors.js'
import { inSchema, namedQuery } from '../sql-files.js'
import { command, lookUp, type Outcome, unknown } from './outcome.js'

const BATCH = 500

/** Makes a failed or cancelled task pending; its attempts start again. */
export async function retryTask(database: Database, schema: string, id: bigint): Promise<Outcome> {
  try {
    return await retryOrThrow(database, schema, id)
  } catch (error) {
    if (!isRefusal(error)) throw error
    const task = await lookUp(database, schema, id)
    return { id, done: false, state: task?.state ?? null, message: (error as Error).message }
  }
}

/** The same in a transaction of others, which a refusal ends. Errors: RETRY_REFUSED. */
export async function retryOrThrow(session: Session, schema: string, id: bigint): Promise<Outcome> {
  const done = await command(session, 'retry', id)
  const task = await lookUp(session, schema, id)
  if (!task) return unknown(id)
  const { state } = task
  if (done) return { id, done, state, message: `Task ${id} is to run again` }
  return { id, done, state, message: `Task ${id} is ${state}, so it cannot be retried` }
}

export interface FailedFilter {
  /** '' stands for tasks without topic; undefined: all */
  topics?: string[] | undefined
  /** how long ago they may have ended */
  sinceMs?: number | undefined
}

/** Ids of failed tasks, the oldest first. */
export async function listFailed(
  database: Database,
  schema: string,
  filter: FailedFilter,
): Promise<bigint[]> {
  const rows = await database.query<{ id: bigint }>(inSchema(namedQuery('failed_ids'), schema), [
    filter.topics ?? null,
    filter.sinceMs === undefined ? null : filter.sinceMs / 1000,
  ])
  return rows.map((row) => row.id)
}

/** Retries many in small transactions. Returns those that could not be: retried meanwhile, or their unique key is taken. */
export async function retryMany(
  database: Database,
  schema: string,
  ids: bigint[],
  onProgress: (count: number) => void,
): Promise<Outcome[]> {
  const refused: Outcome[] = []
  for (let first = 0; first < ids.length; first += BATCH) {
    const batch = ids.slice(first, first + BATCH)
    const missed = await retryBatch(database, schema, batch)
    for (const id of missed) {
      const outcome = await retryTask(database, schema, id)
      if (!outcome.done) refused.push(outcome)
    }
    onProgress(Math.min(first + BATCH, ids.length))
  }
  return refused
}

/** The ids that were not retried; all, where one refusal rolled the batch back. */
async function retryBatch(database: Database, schema: string, ids: bigint[]): Promise<bigint[]> {
  try {
    const rows = await database.query<{ id: bigint; done: boolean }>(
      inSchema('select id, :"schema".pg_background_retry(id) as done from unnest($1::bigint[]) id', schema),
      [ids],
    )
    return rows.filter((row) => !row.done).map((row) => row.id)
  } catch (error) {
    if (!isRefusal(error)) throw error
    return ids
  }
}

const isRefusal = (error: unknown): boolean => error instanceof QueueError && error.code === 'RETRY_REFUSED'
