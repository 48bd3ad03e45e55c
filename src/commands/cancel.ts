import * as Args from '@oclif/core/args'
import * as Flags from '@oclif/core/flags'
import { ActingCommand } from '../acting-command.js'
import { awaitCancel, cancelTask } from '../engine/acting/cancel.js'
import type { Outcome } from '../engine/acting/outcome.js'

export default class Cancel extends ActingCommand {
  static override summary = 'cancel tasks'
  static override description =
    'A waiting task is cancelled at once. Of a running one the end is asked for: its SQL is stopped and rolled back; --wait waits until that is done. Exit 1 if one of the tasks could not be cancelled.'
  static override examples = [
    '<%= config.bin %> <%= command.id %> 42',
    '<%= config.bin %> <%= command.id %> 42 43 44 --wait',
    `<%= config.bin %> status --state pending --topic mail --json | jq '.tasks[].id' | xargs <%= config.bin %> <%= command.id %>`,
  ]
  static override strict = false
  static override args = { id: Args.string({ description: 'ids of tasks', required: true }) }
  static override flags = {
    wait: Flags.boolean({ description: 'wait until the end of what runs is confirmed' }),
  }

  async run(): Promise<void> {
    const { argv, flags } = await this.parse(Cancel)
    const ids = this.parseIds(argv)
    const { database, schema } = await this.openQueue(flags)
    const outcomes: Outcome[] = []
    // first ask for all, then wait for each
    for (const id of ids) outcomes.push(await cancelTask(database, schema, id))
    if (!flags.wait) return this.report(outcomes)
    const ended: Outcome[] = []
    for (const outcome of outcomes) ended.push(await awaitCancel(database, schema, outcome))
    this.report(ended)
  }
}
