import * as Args from '@oclif/core/args'
import { BaseCommand } from '../base-command.js'
import { parseId } from '../engine/task-store.js'
import { explainTask } from '../engine/why.js'
import { whyText } from '../output/why-text.js'

export default class Why extends BaseCommand {
  static override summary = 'say why a task does not run'
  static override description =
    'The one reason that holds the task back now, by the rules that workers claim by, with its evidence and the way out. What goes first is counted up to 1000.'
  static override examples = [
    '<%= config.bin %> <%= command.id %> 42',
    '<%= config.bin %> <%= command.id %> 42 --json',
  ]
  static override args = { id: Args.string({ description: 'id of a task', required: true }) }

  async run(): Promise<void> {
    const { args, flags } = await this.parse(Why)
    const id = parseId(args.id)
    const { database } = await this.openQueue(flags)
    const why = await explainTask(database, id)
    this.print(why, whyText(why))
  }
}
