import * as Args from '@oclif/core/args'
import * as Flags from '@oclif/core/flags'
import { topicsOf } from '../acting-command.js'
import { BaseCommand, type OpenQueue } from '../base-command.js'
import { parseDuration } from '../engine/duration.js'
import { usageError } from '../engine/errors.js'
import { endLine, follow, followTask, type LogLine, LogReader } from '../engine/log.js'
import { findTask, parseId } from '../engine/task-store.js'
import { toJson } from '../output/json.js'
import { LogWriter } from '../output/log-text.js'

const SIGNALS = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const
const LONGEST_AGE_MS = 36_500 * 86_400_000

export default class Logs extends BaseCommand {
  static override summary = 'show what tasks say, and how their attempts end'
  static override description =
    'NOTICEs, WARNINGs and other messages of the SQL, while it runs and afterwards, the rows of each statement of several, and attempts with their errors. Of each task the last 1,000 messages are kept; of a flood, the middle is left out. Without an ID: of all tasks. Of a topic: among the newest 100,000 messages. With --follow and an ID it ends with the task.'
  static override examples = [
    '<%= config.bin %> <%= command.id %> 42',
    '<%= config.bin %> <%= command.id %> 42 --follow',
    '<%= config.bin %> <%= command.id %> --topic reporting --since 1h',
    '<%= config.bin %> <%= command.id %> --follow --json',
  ]
  static override args = { id: Args.string({ description: 'id of a task' }) }
  static override flags = {
    follow: Flags.boolean({ char: 'f', description: 'go on with what comes, until Ctrl-C' }),
    topic: Flags.string({ description: 'tasks of this topic', multiple: true, multipleNonGreedy: true }),
    'no-topic': Flags.boolean({ description: 'tasks without topic' }),
    since: Flags.string({ description: 'only what is newer than this, such as 1h' }),
    limit: Flags.string({ description: 'how many lines, the newest (default: 1000; with --follow 20)' }),
  }

  async run(): Promise<void> {
    const { args, flags } = await this.parse(Logs)
    const taskId = args.id === undefined ? undefined : parseId(args.id)
    const topics = topicsOf(flags)
    if (taskId !== undefined && topics)
      throw usageError('USAGE', 'An ID goes with neither --topic nor --no-topic')
    const sinceMs =
      flags.since === undefined ? undefined : parseDuration(flags.since, '--since', LONGEST_AGE_MS)
    const isTail = flags.follow && taskId === undefined && sinceMs === undefined
    const limit = parseLimit(flags.limit ?? (isTail ? '20' : '1000'))
    const queue = await this.openQueue(flags)
    const reader = new LogReader(queue.database, queue.schema, {
      taskId,
      topics,
      limit,
      sinceSec: sinceMs === undefined ? undefined : sinceMs / 1000,
    })
    if (flags.follow) return this.follow(queue, reader, taskId)
    return this.showPast(queue, reader, taskId)
  }

  private async showPast(
    { database, schema }: OpenQueue,
    reader: LogReader,
    taskId: bigint | undefined,
  ): Promise<void> {
    const task = taskId === undefined ? undefined : await findTask(database, schema, taskId)
    const lines = await reader.read()
    const end = task && endLine(task)
    if (end) lines.push(end)
    const writer = new LogWriter(taskId !== undefined)
    const text = lines.map((line) => writer.full(line)).join('\n')
    this.print({ lines }, text || 'Nothing was said')
  }

  /** One line an object under --json. Ends with its task, on a signal, or when nobody reads any more. */
  private async follow(
    { database, schema }: OpenQueue,
    reader: LogReader,
    taskId: bigint | undefined,
  ): Promise<void> {
    if (taskId !== undefined) await findTask(database, schema, taskId)
    const stopping = new AbortController()
    for (const signal of SIGNALS) process.once(signal, () => stopping.abort())
    process.stdout.on('error', () => stopping.abort())
    const writer = new LogWriter(taskId !== undefined)
    const show = (lines: LogLine[]) => {
      for (const line of lines) this.log(this.wantsJson ? toJson(line, 0) : writer.full(line))
    }
    show(await reader.read())
    if (taskId === undefined) return follow(reader, show, stopping.signal)
    const task = await followTask(database, schema, taskId, reader, show, stopping.signal)
    const end = task && endLine(task)
    if (end) show([end])
  }
}

function parseLimit(text: string): number {
  if (!/^\d{1,6}$/.test(text) || Number(text) < 1) {
    throw usageError('INVALID_VALUE', `Expected --limit to be an integer from 1 to 999999, got "${text}"`)
  }
  return Number(text)
}
