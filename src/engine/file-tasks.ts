import { QueueError, usageError } from './errors.js'
import { type Line, readLines } from './lines.js'
import type { NewTask, TaskOptions } from './task-store.js'
import { isWholeStatement } from './whole-statement.js'

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
export type LineTask = NewTask & { line: number }

/** What every line gets unless it says otherwise itself. */
export interface LineDefaults {
  topic?: string | undefined
  options: TaskOptions
}

/** The tasks of a file, so many at once. Errors: FILE_UNREADABLE, BAD_LINE with the line's number. */
export async function* readBatches(
  path: string,
  size: number,
  defaults: LineDefaults,
): AsyncGenerator<LineTask[]> {
  const common = given(defaults.options)
  let batch: LineTask[] = []
  for await (const lines of linesOf(path)) {
    for (const line of lines) {
      const task = readTask(line, path)
      if (task === undefined) continue
      // most lines are judged at once, and millions of promises take their time
      if (task.isWhole !== true && !(await task.isWhole)) throw noWholeStatement(path, line.number)
      const options = { ...common, ...task.options }
      batch.push({
        sql: task.sql,
        topic: task.topic ?? defaults.topic,
        options: Object.keys(options).length > 0 ? options : undefined,
        line: line.number,
      })
      if (batch.length < size) continue
      yield batch
      batch = []
    }
  }
  if (batch.length > 0) yield batch
}

async function* linesOf(path: string): ReturnType<typeof readLines> {
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

/** What a line holds, undefined if that is nothing, and whether it is a whole statement. */
function readTask(
  { number, text }: Line,
  path: string,
): (NewTask & { isWhole: true | Promise<boolean> }) | undefined {
  if (text === undefined) throw badLine(path, number, 'it is not valid UTF-8')
  if (text.trim() === '') return undefined
  if (text.includes('\0')) throw badLine(path, number, 'it has a NUL byte')
  if (path.endsWith('.jsonl')) return { ...jsonTask(text, path, number), isWhole: true }
  return { sql: text, isWhole: isWholeStatement(text, number) }
}

const noWholeStatement = (path: string, number: number): QueueError =>
  badLine(
    path,
    number,
    'it is no whole statement',
    `pgbq enqueue - < ${path}, if the file is one task of several lines`,
  )

function jsonTask(line: string, path: string, number: number): NewTask {
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

export function badLine(path: string, number: number, problem: string, hint?: string): QueueError {
  return usageError(
    'BAD_LINE',
    `Line ${number} of "${path}" cannot be enqueued: ${problem}. Nothing was enqueued`,
    hint,
  )
}
