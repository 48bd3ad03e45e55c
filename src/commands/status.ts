import { Args, Flags } from '@oclif/core'
import { BaseCommand } from '../base-command.js'
import type { Database } from '../engine/database/database.js'
import { usageError } from '../engine/errors.js'
import { readStatus } from '../engine/status.js'
import { findTask, listAttempts, listTasks, parseId } from '../engine/task-store.js'
import { TASK_STATES } from '../output/color.js'
import { statusText } from '../output/status-text.js'
import { taskDetail, tasksTable } from '../output/task-text.js'

export default class Status extends BaseCommand {
  static override summary = 'show the queue, tasks, or one task'
  static override description =
    'Without arguments: counts by topic and state, workers, recent failures. With --state, --topic, --no-topic or --limit: tasks, newest first. With an ID: all about that task and its attempts.'
  static override examples = [
    '<%= config.bin %> <%= command.id %>',
    '<%= config.bin %> <%= command.id %> --state failed --topic reporting',
    '<%= config.bin %> <%= command.id %> 42 --json',
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
      exclusive: ['state', 'topic', 'no-topic', 'limit'],
    }),
  }

  async run(): Promise<void> {
    const { args, flags } = await this.parse(Status)
    const id = args.id === undefined ? undefined : parseId(args.id)
    const limit = parseLimit(flags.limit)
    if (id !== undefined && (flags.state || flags.topic || flags['no-topic'] || flags.limit))
      throw usageError('USAGE', 'An ID goes with none of --state, --topic, --no-topic and --limit')
    if (id !== undefined && flags.watch) throw usageError('USAGE', 'An ID does not go with --watch')
    const { database, schema } = await this.openQueue(flags)
    if (flags.watch) return this.watch(database)
    if (id !== undefined) {
      const task = await findTask(database, schema, id)
      const attempts = await listAttempts(database, id)
      return this.print({ ...task, attempts }, taskDetail(task, attempts))
    }
    const topics = [...(flags.topic ?? []), ...(flags['no-topic'] ? [''] : [])]
    if (flags.state || topics.length > 0 || flags.limit) {
      const tasks = await listTasks(database, schema, {
        states: flags.state,
        topics: topics.length > 0 ? topics : undefined,
        limit,
      })
      return this.print({ tasks }, tasksTable(tasks))
    }
    const status = await readStatus(database, schema)
    this.print(status, statusText(status))
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
