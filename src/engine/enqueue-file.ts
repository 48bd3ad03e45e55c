import { createReadStream, existsSync, statSync } from 'node:fs'
import { createInterface } from 'node:readline'
import type { Database } from './database/database.js'
import { QueueError, usageError } from './errors.js'
import { enqueueMany, type ManyIds, type NewTask, type TaskOptions } from './task-store.js'
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

/** What every line gets unless it says otherwise itself. */
export interface LineDefaults {
  topic?: string | undefined
  options: TaskOptions
}

/**
 * Adds every line of a file as one task, in one transaction; blank lines are left out. A .jsonl line is
 * {sql, topic, priority, run_at, …}, any other a whole statement. Errors: FILE_MISSING, BAD_LINE with the line's number.
 */
export async function enqueueFile(
  database: Database,
  path: string,
  defaults: LineDefaults,
  onProgress: (count: number) => void,
): Promise<ManyIds> {
  if (!existsSync(path) || !statSync(path).isFile())
    throw new QueueError('FILE_MISSING', `The file "${path}" does not exist`)
  return database.transaction(async () => {
    const total: ManyIds = { first: null, last: null, count: 0n }
    let batch: NewTask[] = []
    const flush = async (): Promise<void> => {
      if (batch.length === 0) return
      const { first, last, count } = await enqueueMany(database, batch)
      total.first ??= first
      total.last = last ?? total.last
      total.count += count
      onProgress(Number(total.count))
      batch = []
    }
    for await (const task of readTasks(path, defaults)) {
      batch.push(task)
      if (batch.length === BATCH) await flush()
    }
    await flush()
    return total
  })
}

async function* readTasks(path: string, defaults: LineDefaults): AsyncGenerator<NewTask> {
  const toTask = path.endsWith('.jsonl') ? jsonTask : sqlTask
  const lines = createInterface({
    input: createReadStream(path, { encoding: 'utf8' }),
    crlfDelay: Number.POSITIVE_INFINITY,
  })
  let number = 0
  for await (const line of lines) {
    number++
    if (line.trim() === '') continue
    if (line.includes('\0')) throw badLine(path, number, 'it has a NUL byte')
    const task = await toTask(line, path, number)
    const options = { ...given(defaults.options), ...task.options }
    yield {
      sql: task.sql,
      topic: task.topic ?? defaults.topic,
      options: Object.keys(options).length > 0 ? options : undefined,
    }
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
  if (typeof sql !== 'string' || sql.trim() === '') throw badLine(path, number, '"sql" is missing or blank')
  if (sql.includes('\0')) throw badLine(path, number, '"sql" has a NUL byte')
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
