import type { Database, Row } from './database/database.js'
import type { Session } from './database/session.js'
import { QueueError } from './errors.js'
import { inSchema, namedQuery } from './sql-files.js'

/** A task as the table has it; ids are bigint, instants ISO 8601 in UTC. */
export interface TaskRow extends Row {
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

/** The options of a task, by the names of pg_background_enqueue's third argument. */
export interface TaskOptions {
  priority?: number | undefined
  run_at?: string | undefined
  max_retries?: number | undefined
  timeout_in_sec?: number | undefined
  unique_key?: string | undefined
  mode?: string | undefined
  isolation?: string | undefined
}

export interface NewTask {
  sql: string
  topic?: string | null | undefined
  options?: TaskOptions | undefined
}

/** Adds one task. `existing`: its unique_key was there, nothing was added. Errors: BLANK_SQL, INVALID_TOPIC, INVALID_OPTION. */
export async function enqueue(session: Session, task: NewTask): Promise<{ id: bigint; existing: boolean }> {
  return session.one(
    'insert into background_queue.inbox (sql_statement, topic, options) values ($1, $2, $3) returning id, existing',
    [task.sql, task.topic ?? null, optionsJson(task.options)],
  )
}

export interface ManyIds {
  first: bigint | null
  last: bigint | null
  count: bigint
}

/** Adds a batch in one statement. */
export async function enqueueMany(session: Session, tasks: NewTask[]): Promise<ManyIds> {
  const row = await session.one<{ first_id: bigint | null; last_id: bigint | null; added: bigint }>(
    `insert into background_queue.inbox_many (statements, topics, options) values ($1, $2, $3)
     returning first_id, last_id, added`,
    [
      tasks.map((t) => t.sql),
      unlessAllNull(tasks.map((t) => t.topic ?? null)),
      unlessAllNull(tasks.map((t) => optionsJson(t.options))),
    ],
  )
  return { first: row.first_id, last: row.last_id, count: row.added }
}

/** The server need not read an array of nothing. */
const unlessAllNull = <T>(values: (T | null)[]): (T | null)[] | null =>
  values.every((value) => value === null) ? null : values

function optionsJson(options: TaskOptions | undefined): string | null {
  if (options === undefined) return null
  const given = Object.entries(options).filter(([, value]) => value !== undefined)
  return given.length === 0 ? null : JSON.stringify(Object.fromEntries(given))
}

/** One task without its secrets. Errors: UNKNOWN_TASK. */
export async function findTask(session: Session, schema: string, id: bigint): Promise<TaskRow> {
  const [row] = await session.query<TaskRow>(inSchema(namedQuery('task'), schema), [id])
  if (!row)
    throw new QueueError('UNKNOWN_TASK', `No task has the id ${id}`, { hint: 'pgbq status --limit 20' })
  return publicRow(row)
}

export interface TaskFilter {
  states?: string[] | undefined
  /** '' stands for tasks without topic */
  topics?: string[] | undefined
  limit: number
}

/** Tasks by id, newest first. */
export async function listTasks(database: Database, schema: string, filter: TaskFilter): Promise<TaskRow[]> {
  const rows = await database.query<TaskRow>(inSchema(namedQuery('tasks'), schema), [
    filter.states ?? null,
    filter.topics ?? null,
    filter.limit,
  ])
  return rows.map(publicRow)
}

export function listAttempts(database: Database, id: bigint): Promise<Row[]> {
  return database.query(namedQuery('attempts'), [id])
}

/** The names of what a TaskRow has, in order. */
export async function taskColumns(database: Database, schema: string): Promise<string[]> {
  const columns = await database.query<{ name: string }>(inSchema(namedQuery('task_columns'), schema))
  return Object.keys(publicRow(Object.fromEntries(columns.map(({ name }) => [name, null]))))
}

/** token_hash is no use to anybody, and lane and worker are how the queue works inside. */
function publicRow({ token_hash: _, lane: __, enqueued_by_oid: ___, ...row }: Row): TaskRow {
  return row as TaskRow
}

/** A task's id as typed. Errors: INVALID_ID. */
export function parseId(text: string): bigint {
  if (!/^\d{1,19}$/.test(text) || BigInt(text) > 9223372036854775807n) {
    throw new QueueError('INVALID_ID', `Expected the id of a task, got "${text}"`, { usage: true })
  }
  return BigInt(text)
}
