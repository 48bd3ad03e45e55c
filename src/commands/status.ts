import * as Args from '@oclif/core/args'
import * as Flags from '@oclif/core/flags'
import { BaseCommand, type OpenQueue } from '../base-command.js'
import type { Database } from '../engine/database/database.js'
import { usageError } from '../engine/errors.js'
import { readStatus } from '../engine/status.js'
import {
  findTask,
  listAttempts,
  listTasks,
  parseId,
  type TaskFilter,
  taskColumns,
} from '../engine/task-store.js'
import { outputFlags, timeFlags } from '../list-flags.js'
import { TASK_STATES } from '../output/color.js'
import { statusText } from '../output/status-text.js'
import { taskDetail, tasksTable } from '../output/task-text.js'
import type { TimeStyle } from '../output/time.js'

/** A queue, and how it is to be shown. */
interface View extends OpenQueue {
  output: string | undefined
  times: TimeStyle
}

export default class Status extends BaseCommand {
  static override summary = 'show the queue, tasks, or one task'
  static override description =
    'Without arguments: counts by topic and state, workers, recent failures. With --state, --topic, --no-topic or --limit: tasks, newest first. With an ID: all about that task and its attempts.'
  static override examples = [
    '<%= config.bin %> <%= command.id %>',
    '<%= config.bin %> <%= command.id %> --state failed --topic reporting',
    '<%= config.bin %> <%= command.id %> 42 --json',
    '<%= config.bin %> <%= command.id %> --state finished --limit 1000 --output csv',
    '<%= config.bin %> <%= command.id %> --watch',
  ]
  static override args = { id: Args.string({ description: 'id of a task' }) }
  static override flags = {
    state: Flags.string({
      description: 'tasks in this state',
      options: TASK_STATES,
      multiple: true,
      multipleNonGreedy: true,
    }),
    topic: Flags.string({ description: 'tasks of this topic', multiple: true, multipleNonGreedy: true }),
    'no-topic': Flags.boolean({ description: 'tasks without topic' }),
    limit: Flags.string({ description: 'how many tasks (default: 20)' }),
    watch: Flags.boolean({
      description: 'watch the queue live; without a terminal, one line a second',
    }),
    ...outputFlags,
    ...timeFlags,
  }

  async run(): Promise<void> {
    const { args, flags } = await this.parse(Status)
    const id = args.id === undefined ? undefined : parseId(args.id)
    const limit = parseLimit(flags.limit)
    const isList = Boolean(flags.state || flags.topic || flags['no-topic'] || flags.limit)
    if (id !== undefined && isList)
      throw usageError('USAGE', 'An ID goes with none of --state, --topic, --no-topic and --limit')
    if (flags.watch && (id !== undefined || isList || flags.output === 'csv'))
      throw usageError(
        'USAGE',
        '--watch shows the whole queue: it goes with no ID, --state, --topic, --no-topic, --limit and CSV',
      )
    const queue = await this.openQueue(flags)
    if (flags.watch) return this.watch(queue.database)
    const view = { ...queue, output: flags.output, times: await this.timeStyle(queue.database, flags.time) }
    if (id !== undefined) return this.showTask(view, id)
    if (isList) {
      const topics = [...(flags.topic ?? []), ...(flags['no-topic'] ? [''] : [])]
      return this.showTasks(view, {
        states: flags.state,
        topics: topics.length > 0 ? topics : undefined,
        limit,
      })
    }
    return this.showQueue(view)
  }

  private async showTask({ database, schema, output, times }: View, id: bigint): Promise<void> {
    const task = await findTask(database, schema, id)
    const attempts = await listAttempts(database, id)
    const text = () => taskDetail(task, attempts, times)
    this.printRows(output, { json: { ...task, attempts }, columns: Object.keys(task), rows: [task], text })
  }

  private async showTasks({ database, schema, output, times }: View, filter: TaskFilter): Promise<void> {
    const tasks = await listTasks(database, schema, filter)
    const columns = output === 'csv' ? await taskColumns(database, schema) : []
    this.printRows(output, { json: { tasks }, columns, rows: tasks, text: () => tasksTable(tasks, times) })
  }

  private async showQueue({ database, schema, output, times }: View): Promise<void> {
    const status = await readStatus(database, schema)
    this.printRows(output, {
      json: status,
      columns: ['topic', ...TASK_STATES, 'limit', 'delay_in_sec', 'paused'],
      rows: status.topics.map(({ states, ...topic }) => ({ ...topic, ...states })),
      text: () => statusText(status, times),
    })
  }

  private async watch(database: Database): Promise<void> {
    await database.close()
    const { watch } = await import('../watch.js')
    await watch(database.target, {
      wantsJson: this.wantsJson,
      print: (line) => this.log(line),
      note: (line) => this.note(line),
    })
  }
}

function parseLimit(text = '20'): number {
  if (!/^\d{1,7}$/.test(text) || Number(text) < 1) {
    throw usageError('INVALID_VALUE', `Expected --limit to be an integer from 1 to 9999999, got "${text}"`)
  }
  return Number(text)
}
