import { Args, Flags } from '@oclif/core'
import { BaseCommand } from '../base-command.js'
import type { Database } from '../engine/database/database.js'
import { parseDuration } from '../engine/duration.js'
import { usageError } from '../engine/errors.js'
import { enqueue, findTask, type TaskOptions } from '../engine/task-store.js'
import { waitForEnd } from '../engine/wait.js'
import { sayOutcome } from '../output/task-text.js'

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
    // SQL that begins with a comment looks like a flag
    this.argv = this.argv.map((arg) => (/^--\s/.test(arg) ? `\n${arg}` : arg))
    await super.init()
  }

  async run(): Promise<void> {
    const { args, flags } = await this.parse(Enqueue)
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
      if (args.sql !== undefined || flags.wait)
        throw usageError('USAGE', '--file goes with neither SQL nor --wait')
      return this.addFile(flags, options)
    }
    const sql = checkText(args.sql === '-' ? await readStdin() : args.sql)
    const { database, schema } = await this.openQueue(flags)
    await this.warnOfControl(sql)
    const { id, existing } = await enqueue(database, { sql, topic: checkText(flags.topic, true), options })
    if (!flags.wait) {
      this.print(existing ? { id, existing } : { id }, String(id))
      return this.hintAtWorkers(database)
    }
    await this.hintAtWorkers(database)
    await waitForEnd(database, schema, id)
    const task = await findTask(database, schema, id)
    this.print(task, sayOutcome(task))
    if (task.state !== 'finished') process.exitCode = 1
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
    const text =
      ids.count === 0n ? 'Nothing was added' : `${ids.count} tasks, ids ${ids.first} to ${ids.last}`
    this.print({ ids }, text)
    await this.hintAtWorkers(database)
  }

  private async warnOfControl(sql: string): Promise<void> {
    const { findTransactionControl } = await import('../engine/worker/parser.js')
    const command = await findTransactionControl(sql)
    if (command !== undefined) {
      this.note(
        `Warning: the task will fail, for it controls its transaction with "${command.slice(0, 60)}"; all statements of a task are one transaction`,
      )
    }
  }

  /** For a person at a terminal only: nobody is there to run it. */
  private async hintAtWorkers(database: Database): Promise<void> {
    if (!process.stderr.isTTY || this.wantsJson) return
    const rows = await database.query('select from background_queue.supervisors limit 1').catch(() => [{}])
    if (rows.length === 0) this.note('No supervisor is alive. Try this: pgbq work')
  }
}

function runAt(flags: { 'run-at'?: string | undefined; in?: string | undefined }): string | undefined {
  if (flags.in !== undefined) return new Date(Date.now() + parseDuration(flags.in, '--in')).toISOString()
  const text = flags['run-at']
  if (text === undefined) return undefined
  const time = new Date(text)
  if (!/^\d{4}-\d{2}-\d{2}/.test(text) || Number.isNaN(time.getTime())) {
    throw usageError(
      'INVALID_TIME',
      `Expected --run-at to be an ISO 8601 time such as 2026-12-24T18:00, got "${text}"`,
    )
  }
  return time.toISOString()
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

function checkText(text: string | undefined, isOptional: true): string | undefined
function checkText(text: string | undefined): string
function checkText(text: string | undefined, isOptional = false): string | undefined {
  if (text?.includes('\0')) throw usageError('NUL_BYTE', 'PostgreSQL cannot hold a text with a NUL byte')
  if (!isOptional && (text === undefined || text.trim() === '')) {
    throw usageError(
      'BLANK_SQL',
      'The SQL statement of a task is missing or blank',
      "pgbq enqueue 'SELECT 1'",
    )
  }
  return text
}

async function readStdin(): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of process.stdin) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks).toString('utf8')
}
