import { statSync } from 'node:fs'
import type { Database } from './database/database.js'
import { QueueError, usageError } from './errors.js'
import { readLines } from './lines.js'
import { enqueue, enqueueMany, type ManyIds, type NewTask, type TaskOptions } from './task-store.js'
import { isWholeStatement } from './whole-statement.js'

const BATCH = 5000
const OPTION_KEYS = [
  'priority',
  'run_at',
  'max_retries',
  'timeout_in_sec',
  'unique_key',
  'mode',
  'isolation',
] as const

/** A task, and the number of its line. */
type LineTask = NewTask & { line: number }

/** What every line gets unless it says otherwise itself. */
export interface LineDefaults {
  topic?: string | undefined
  options: TaskOptions
}

/**
 * Adds every line of a file as one task, in one transaction; blank lines are left out. A .jsonl line is
 * {sql, topic, priority, run_at, …}, any other a whole statement. Errors: FILE_MISSING, FILE_UNREADABLE, BAD_LINE with
 * the line's number.
 */
export async function enqueueFile(
  database: Database,
  path: string,
  defaults: LineDefaults,
  onProgress: (count: number) => void,
): Promise<ManyIds> {
  requireFile(path)
  const total: ManyIds = { first: null, last: null, count: 0n }
  let sent: Promise<void> | undefined
  const send = async (batch: LineTask[]): Promise<void> => {
    const { first, last, count } = await enqueueBatch(database, batch)
    total.first ??= first
    total.last = last ?? total.last
    total.count += count
    onProgress(Number(total.count))
  }
  try {
    return await database.transaction(async () => {
      try {
        for await (const batch of batches(readTasks(path, defaults))) {
          // the server has the last batch while the next one is read
          await sent
          sent = send(batch)
          sent.catch(() => undefined)
        }
      } finally {
        // what is wrong in an earlier line is told first
        await sent
      }
      return total
    })
  } catch (error) {
    if (error instanceof RefusedBatch) throw await findBadLine(database, error, path)
    throw error
  }
}

async function* batches(tasks: AsyncIterable<LineTask>): AsyncGenerator<LineTask[]> {
  let batch: LineTask[] = []
  for await (const task of tasks) {
    batch.push(task)
    if (batch.length < BATCH) continue
    yield batch
    batch = []
  }
  if (batch.length > 0) yield batch
}

function requireFile(path: string): void {
  const facts = statSync(path, { throwIfNoEntry: false })
  if (facts === undefined) throw new QueueError('FILE_MISSING', `The file "${path}" does not exist`)
  if (facts.isDirectory()) throw new QueueError('FILE_MISSING', `"${path}" is a folder, not a file`)
}

/** Some value of the batch is one that only the server can judge, and did not like. */
class RefusedBatch extends Error {
  constructor(
    readonly batch: LineTask[],
    override readonly cause: unknown,
  ) {
    super('A value of the batch was refused')
  }
}

function enqueueBatch(database: Database, batch: LineTask[]): Promise<ManyIds> {
  return enqueueMany(database, batch).catch((error: unknown) => {
    throw isAboutValues(error) ? new RefusedBatch(batch, error) : error
  })
}

/** Tried line by line, and taken back, once nothing of the file is left. */
async function findBadLine(
  database: Database,
  { batch, cause }: RefusedBatch,
  path: string,
): Promise<unknown> {
  const found = new Error('The line was found')
  let bad: unknown = cause
  await database
    .transaction(async () => {
      for (const task of batch) {
        await enqueue(database, task).catch((error: Error & { hint?: string }) => {
          bad = badLine(path, task.line, error.message, error.hint)
          throw found
        })
      }
      throw found
    })
    .catch((error: unknown) => {
      if (error !== found) throw error
    })
  return bad
}

/** A rule of ours, or the server's classes 22 (data) and 23 (constraints). */
function isAboutValues(error: unknown): boolean {
  if (error instanceof QueueError) return error.usage
  return /^2[23]/.test((error as { code?: string }).code ?? '')
}

async function* readTasks(path: string, defaults: LineDefaults): AsyncGenerator<LineTask> {
  const toTask = path.endsWith('.jsonl') ? jsonTask : sqlTask
  const common = given(defaults.options)
  for await (const { number, text } of lines(path)) {
    if (text === undefined) throw badLine(path, number, 'it is not valid UTF-8')
    if (text.trim() === '') continue
    if (text.includes('\0')) throw badLine(path, number, 'it has a NUL byte')
    const task = await toTask(text, path, number)
    const options = { ...common, ...task.options }
    yield {
      sql: task.sql,
      topic: task.topic ?? defaults.topic,
      options: Object.keys(options).length > 0 ? options : undefined,
      line: number,
    }
  }
}

async function* lines(path: string): ReturnType<typeof readLines> {
  try {
    yield* readLines(path)
  } catch (cause) {
    if (cause instanceof QueueError) throw cause
    throw new QueueError(
      'FILE_UNREADABLE',
      `The file "${path}" cannot be read: ${(cause as Error).message}`,
      {
        cause,
      },
    )
  }
}

async function sqlTask(line: string, path: string, number: number): Promise<NewTask> {
  if (!(await isWholeStatement(line, number))) {
    throw badLine(
      path,
      number,
      'it is no whole statement',
      `pgbq enqueue - < ${path}, if the file is one task of several lines`,
    )
  }
  return { sql: line }
}

async function jsonTask(line: string, path: string, number: number): Promise<NewTask> {
  let entry: Record<string, unknown>
  try {
    entry = JSON.parse(line) as Record<string, unknown>
  } catch (error) {
    throw badLine(path, number, `it is not valid JSON: ${(error as Error).message}`)
  }
  if (entry === null || typeof entry !== 'object' || Array.isArray(entry))
    throw badLine(path, number, 'it is no JSON object')
  const { sql, topic, ...options } = entry
  for (const [key, value] of Object.entries(entry)) {
    if (typeof value === 'string' && value.includes('\0'))
      throw badLine(path, number, `"${key}" has a NUL byte`)
    if (typeof value === 'number' && !Number.isFinite(value))
      throw badLine(path, number, `"${key}" is too large a number`)
  }
  if (typeof sql !== 'string' || sql.trim() === '') throw badLine(path, number, '"sql" is missing or blank')
  if (topic !== undefined && topic !== null && (typeof topic !== 'string' || [...topic].length > 200)) {
    throw badLine(path, number, '"topic" is no text of 1 to 200 characters')
  }
  const unknown = Object.keys(options).find(
    (key) => !OPTION_KEYS.includes(key as (typeof OPTION_KEYS)[number]),
  )
  if (unknown !== undefined)
    throw badLine(
      path,
      number,
      `the key "${unknown}" is not known`,
      `use sql, topic, ${OPTION_KEYS.join(', ')}`,
    )
  return { sql, topic: topic as string | null | undefined, options: options as TaskOptions }
}

function given(options: TaskOptions): TaskOptions {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined))
}

function badLine(path: string, number: number, problem: string, hint?: string): QueueError {
  return usageError(
    'BAD_LINE',
    `Line ${number} of "${path}" cannot be enqueued: ${problem}. Nothing was enqueued`,
    hint,
  )
}
