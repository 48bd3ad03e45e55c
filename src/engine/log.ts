import type { Database, Row } from './database/database.js'
import { inSchema, namedQuery } from './sql-files.js'
import { findTask, type TaskRow } from './task-store.js'

/** Something that a task said, or (source attempt) how one of its attempts ended. */
export interface LogLine extends Row {
  source: 'notice' | 'attempt' | 'end'
  id: bigint | null
  task_id: bigint
  topic: string | null
  /** of a notice: which attempt, and its number in that run, where a leap tells of lines left out */
  attempt: number | null
  seq: number | null
  at: string
  /** NOTICE, WARNING, INFO, LOG, DEBUG; RESULT of one statement of several; or how the attempt or the task ended */
  kind: string
  sqlstate: string | null
  message: string | null
  detail: string | null
  hint: string | null
  statement: number | null
  rows: bigint | null
}

export interface LogFilter {
  taskId?: bigint | undefined
  /** '' stands for tasks without topic */
  topics?: string[] | undefined
  sinceSec?: number | undefined
  limit: number
}

/** Attempts are numbered when they end and seen when that is committed: so many may be on their way. */
const OVERLAP = 100n
const LOOK_EVERY_MS = 250
const FIRST_LOOK_MS = 10
/** A task of several statements is closed a moment before their results are kept. */
const RESULTS_WITHIN_MS = 400
/** Between two looks more is not shown. */
const MOST_AT_ONCE = 10_000

const CLOSED = ['finished', 'failed', 'cancelled']

/** Reads the log of a queue, and what comes to it. */
export class LogReader {
  private readonly database: Database
  private readonly schema: string
  private readonly filter: LogFilter
  private lastNotice = 0n
  private lastAttempt = 0n
  private seen = new Set<bigint>()
  /** the last result of a statement that was read */
  lastResult: LogLine | undefined

  constructor(database: Database, schema: string, filter: LogFilter) {
    this.database = database
    this.schema = schema
    this.filter = filter
  }

  /** The newest lines, in order; what comes later is for next(). */
  async read(): Promise<LogLine[]> {
    const [marks] = await this.database.query<{ notice: bigint; attempts: bigint[] }>(namedQuery('log_marks'))
    const lines = await this.ask(this.filter.sinceSec ?? null, this.filter.limit, 0n, 0n)
    this.lastNotice = marks!.notice
    for (const id of marks!.attempts) this.noteAttempt(id)
    return this.fresh(lines)
  }

  /** What was written since. */
  async next(): Promise<LogLine[]> {
    const floor = this.lastAttempt - OVERLAP
    const lines = await this.ask(null, MOST_AT_ONCE, this.lastNotice, floor > 0n ? floor : 0n)
    return this.fresh(lines.filter(({ source, id }) => source === 'notice' || !this.seen.has(id!)))
  }

  private ask(sinceSec: number | null, limit: number, notice: bigint, attempt: bigint): Promise<LogLine[]> {
    const { taskId, topics } = this.filter
    return this.database.query<LogLine>(inSchema(namedQuery('log_lines'), this.schema), [
      taskId ?? null,
      topics ?? null,
      sinceSec,
      limit,
      notice,
      attempt,
    ])
  }

  private fresh(lines: (LogLine & { place?: unknown })[]): LogLine[] {
    return lines.map(({ place: _, ...line }) => {
      if (line.source === 'attempt') this.noteAttempt(line.id!)
      else if (line.id! > this.lastNotice) this.lastNotice = line.id!
      if (line.kind === 'RESULT') this.lastResult = line as LogLine
      return line as LogLine
    })
  }

  private noteAttempt(id: bigint): void {
    if (id > this.lastAttempt) this.lastAttempt = id
    this.seen.add(id)
    if (this.seen.size > 100 * Number(OVERLAP))
      this.seen = new Set([...this.seen].filter((seen) => seen > this.lastAttempt - OVERLAP))
  }
}

export type ShowLines = (lines: LogLine[]) => void

/** Shows what comes until it is stopped. */
export async function follow(reader: LogReader, show: ShowLines, stopping: AbortSignal): Promise<void> {
  while (!stopping.aborted) {
    await pause(LOOK_EVERY_MS, stopping)
    if (!stopping.aborted) show(await reader.next())
  }
}

/** Shows what comes of one task until it is closed, and gives its row. Errors: UNKNOWN_TASK. */
export async function followTask(
  database: Database,
  schema: string,
  id: bigint,
  reader: LogReader,
  show: ShowLines,
  stopping?: AbortSignal,
): Promise<TaskRow | undefined> {
  for (let delayMs = FIRST_LOOK_MS; !stopping?.aborted; delayMs = Math.min(delayMs * 1.5, LOOK_EVERY_MS)) {
    const task = await findTask(database, schema, id)
    show(await reader.next())
    if (CLOSED.includes(task.state)) {
      await showResults(task, reader, show)
      return task
    }
    await pause(delayMs, stopping)
  }
  return undefined
}

async function showResults(task: TaskRow, reader: LogReader, show: ShowLines): Promise<void> {
  if (task.state !== 'finished' || !/;\s*\S/.test(task.sql_statement)) return
  const endsAt = performance.now() + RESULTS_WITHIN_MS
  while (!isResultOf(task, reader.lastResult) && performance.now() < endsAt) {
    await pause(FIRST_LOOK_MS)
    show(await reader.next())
  }
}

const isResultOf = (task: TaskRow, result: LogLine | undefined): boolean =>
  result?.message === (task.command_tag ?? '') && result.rows === task.rows_affected

/** How a closed task ended, where no attempt tells it. */
export function endLine(task: TaskRow): LogLine | undefined {
  if (task.state !== 'finished' && (task.state !== 'cancelled' || task.started_at !== null)) return undefined
  return {
    source: 'end',
    id: null,
    task_id: task.id,
    topic: task.topic,
    attempt: task.state === 'finished' ? task.retry_count + 1 : null,
    seq: null,
    at: task.closed_at!,
    kind: task.state,
    sqlstate: null,
    message: task.errors ?? task.command_tag,
    detail: null,
    hint: null,
    statement: null,
    rows: task.rows_affected,
  }
}

function pause(ms: number, stopping?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer)
      stopping?.removeEventListener('abort', done)
      resolve()
    }
    const timer = setTimeout(done, ms)
    stopping?.addEventListener('abort', done)
  })
}
