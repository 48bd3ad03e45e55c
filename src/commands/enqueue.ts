import * as Args from '@oclif/core/args'
import * as Flags from '@oclif/core/flags'
import { BaseCommand, type OpenQueue } from '../base-command.js'
import type { Database } from '../engine/database/database.js'
import { parseDuration, parseTime } from '../engine/duration.js'
import { usageError } from '../engine/errors.js'
import { checkSql } from '../engine/task-sql.js'
import { enqueue, type ManyIds, type TaskOptions, type TaskRow } from '../engine/task-store.js'

/** SQL that begins with a comment looks like a flag; no argument of a process can hold the guard itself. */
const COMMENT = /^--(\s|[^\n=]*\n)/
const GUARD = '\0'

export default class Enqueue extends BaseCommand {
  static override summary = 'add SQL to the queue'
  static override description =
    'Prints the id of the task. SQL may be "-": all of stdin is one task. With --file each line is one task: a whole statement, or in a .jsonl file an object {"sql", "topic", "priority", …}; all of the file is added, or nothing.'
  static override examples = [
    `<%= config.bin %> <%= command.id %> 'REFRESH MATERIALIZED VIEW sales' --topic reporting`,
    `<%= config.bin %> <%= command.id %> 'VACUUM ANALYZE users' --in 10m --retry-count 3 --timeout 1h`,
    `<%= config.bin %> <%= command.id %> 'CALL close_month()' --unique-key close-month --wait`,
    '<%= config.bin %> <%= command.id %> - < script.sql',
    '<%= config.bin %> <%= command.id %> --file statements.sql --topic backfill',
  ]
  static override args = { sql: Args.string({ description: 'the statement, or "-" to read stdin' }) }
  static override flags = {
    topic: Flags.string({ description: 'topic of the task' }),
    priority: Flags.string({ description: 'lower runs first (default: the topic’s, else 100)' }),
    'run-at': Flags.string({ description: 'not before this time, ISO 8601', exclusive: ['in'] }),
    in: Flags.string({ description: 'not before this long from now, such as 10m' }),
    'retry-count': Flags.string({ description: 'retries after errors (default: the topic’s, else 0)' }),
    timeout: Flags.string({ description: 'end an attempt after this long, such as 30s' }),
    'unique-key': Flags.string({
      description: 'add nothing while a task of this key waits or runs; prints its id',
    }),
    mode: Flags.string({
      description: 'how to run it (default: auto)',
      options: ['auto', 'transaction', 'autocommit'],
    }),
    isolation: Flags.string({
      description: 'isolation level of its transaction',
      options: ['read committed', 'repeatable read', 'serializable'],
    }),
    file: Flags.string({ char: 'f', description: 'add every line of this file' }),
    wait: Flags.boolean({ description: 'wait for the end, say how it ended, exit 1 unless finished' }),
  }

  override async init(): Promise<void> {
    this.argv = this.argv.map((arg) => (COMMENT.test(arg) ? `${GUARD}${arg}` : arg))
    await super.init()
  }

  async run(): Promise<void> {
    const { args, flags } = unguarded(await this.parse(Enqueue))
    const options: TaskOptions = {
      priority: integer(flags.priority, '--priority', -2147483648, 2147483647),
      run_at: runAt(flags),
      max_retries: integer(flags['retry-count'], '--retry-count', 0, 1000),
      timeout_in_sec:
        flags.timeout === undefined ? undefined : parseDuration(flags.timeout, '--timeout') / 1000,
      unique_key: flags['unique-key'],
      mode: flags.mode,
      isolation: flags.isolation,
    }
    if (flags.file !== undefined) {
      if (args.sql !== undefined || flags.wait || flags['unique-key'] !== undefined)
        throw usageError('USAGE', '--file goes with none of SQL, --wait and --unique-key')
      return this.addFile(flags, options)
    }
    const sql = checkSql(args.sql === '-' ? await readStdin() : args.sql)
    // the server answers meanwhile
    const [{ database, schema }, control] = await Promise.all([this.openQueue(flags), findControl(sql)])
    if (control !== undefined) await this.warnOfControl(control)
    const { id, existing } = await enqueue(database, { sql, topic: flags.topic, options })
    if (!flags.wait) {
      this.print(existing ? { id, existing } : { id }, String(id))
      return this.hintAtWorkers(database)
    }
    await this.hintAtWorkers(database)
    const task = await this.waitFor({ database, schema }, id)
    const { sayOutcome } = await import('../output/task-text.js')
    this.print(task, sayOutcome(task))
    if (task.state !== 'finished') process.exitCode = 1
  }

  /** What the task says meanwhile is shown as psql would. */
  private async waitFor({ database, schema }: OpenQueue, id: bigint): Promise<TaskRow> {
    const { followTask, LogReader } = await import('../engine/log.js')
    const { LogWriter } = await import('../output/log-text.js')
    const reader = new LogReader(database, schema, { taskId: id, limit: 1 })
    const writer = new LogWriter(true)
    const task = await followTask(database, schema, id, reader, (lines) => {
      for (const line of lines) if (!ENDS.has(line.kind)) this.note(writer.short(line))
    })
    return task!
  }

  private async addFile(
    flags: Parameters<BaseCommand['openQueue']>[0] & {
      file?: string | undefined
      topic?: string | undefined
    },
    options: TaskOptions,
  ): Promise<void> {
    const { enqueueFile } = await import('../engine/enqueue-file.js')
    const { progressLine } = await import('../output/progress.js')
    const { database } = await this.openQueue(flags)
    const progress = progressLine('enqueued')
    const ids = await enqueueFile(database, flags.file!, { topic: flags.topic, options }, (count) =>
      progress.show(count),
    )
    progress.clear()
    this.print({ ids }, sayIds(ids))
    await this.hintAtWorkers(database)
  }

  private async warnOfControl(command: string): Promise<void> {
    const { oneLine } = await import('../output/table.js')
    this.note(
      `Warning: the task will fail, for it controls its transaction with "${oneLine(command)}"; all statements of a task are one transaction`,
    )
  }

  /** For a person at a terminal only: nobody is there to run it. */
  private async hintAtWorkers(database: Database): Promise<void> {
    if (!process.stderr.isTTY || this.wantsJson) return
    const rows = await database.query('select from background_queue.supervisors limit 1').catch(() => [{}])
    if (rows.length === 0) this.note('No supervisor is alive. Try this: pgbq work')
  }
}

async function findControl(sql: string): Promise<string | undefined> {
  const { findTransactionControl } = await import('../engine/worker/parser.js')
  return findTransactionControl(sql)
}

/** Attempts with which the task ends, as the outcome tells. */
const ENDS = new Set(['failed', 'cancelled'])

function unguarded<T extends { args: object; flags: object }>(parsed: T): T {
  const clean = <V extends object>(values: V): V =>
    Object.fromEntries(
      Object.entries(values).map(([key, value]) => [
        key,
        typeof value === 'string' && value.startsWith(GUARD) ? value.slice(GUARD.length) : value,
      ]),
    ) as V
  return { ...parsed, args: clean(parsed.args), flags: clean(parsed.flags) }
}

function sayIds({ first, last, count }: ManyIds): string {
  if (count === 0n) return 'Nothing was added'
  return count === 1n ? `1 task, id ${first}` : `${count} tasks, ids ${first} to ${last}`
}

/** A hundred years, of 365 days. */
const LONGEST_WAIT_MS = 36_500 * 86_400_000

function runAt(flags: { 'run-at'?: string | undefined; in?: string | undefined }): string | undefined {
  if (flags.in !== undefined)
    return new Date(Date.now() + parseDuration(flags.in, '--in', LONGEST_WAIT_MS)).toISOString()
  return flags['run-at'] === undefined ? undefined : parseTime(flags['run-at'], '--run-at')
}

function integer(text: string | undefined, flag: string, low: number, high: number): number | undefined {
  if (text === undefined) return undefined
  const value = Number(text)
  if (!/^-?\d{1,15}$/.test(text) || value < low || value > high) {
    throw usageError(
      'INVALID_VALUE',
      `Expected ${flag} to be an integer from ${low} to ${high}, got "${text}"`,
    )
  }
  return value
}

async function readStdin(): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of process.stdin) chunks.push(chunk as Buffer)
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(chunks))
  } catch {
    throw usageError(
      'INVALID_ENCODING',
      'The SQL on stdin is not valid UTF-8',
      'iconv -f LATIN1 -t UTF-8 FILE | pgbq enqueue -',
    )
  }
}
