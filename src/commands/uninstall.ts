import * as Flags from '@oclif/core/flags'
import { ActingCommand, countOf, yesFlag } from '../acting-command.js'
import { planUninstall, type UninstallPlan, uninstall } from '../engine/acting/uninstall.js'
import { usageError } from '../engine/errors.js'
import { canAsk } from '../output/ask.js'
import { plain } from '../output/plain.js'

export default class Uninstall extends ActingCommand {
  static override summary = 'take the queue and all its tasks out of the database'
  static override description =
    'Says what is lost and asks; without a terminal it needs --yes. Refuses while supervisors or workers live; --force ends them, and rolls back what they run. Nothing else in the database is touched: what tasks have done stays, as do roles and the schema.'
  static override examples = [
    '<%= config.bin %> <%= command.id %>',
    '<%= config.bin %> <%= command.id %> --yes --force',
  ]
  static override flags = {
    ...yesFlag,
    force: Flags.boolean({ description: 'end supervisors and workers that live' }),
  }

  async run(): Promise<void> {
    const { flags } = await this.parse(Uninstall)
    const { database, schema } = await this.openQueue(flags)
    const plan = await planUninstall(database, schema)
    this.note(sayLoss(plan, schema))
    if (!flags.yes && (this.wantsJson || !canAsk()))
      throw usageError(
        'NOT_CONFIRMED',
        'Nobody can be asked here, so nothing was changed',
        'pgbq uninstall --yes',
      )
    await this.agree('Take the queue out of this database?', flags.yes)
    await uninstall(database, schema, flags.force)
    this.print(
      { schema, lost: { states: plan.states, settings: plan.settings, enqueuers: plan.enqueuers } },
      `The queue is gone from schema "${schema}"`,
    )
  }
}

function sayLoss({ states, settings, enqueuers, sessions }: UninstallPlan, schema: string): string {
  const waiting = states.pending + states.retrying
  const closed = states.finished + states.failed + states.cancelled
  const lines = [
    `Lost will be the queue in schema "${schema}":\n  ${countOf(waiting, 'waiting task')}, ${states.running.toLocaleString('en')} running and ${closed.toLocaleString('en')} closed ones; ${countOf(settings, 'stored parameter')}`,
  ]
  if (enqueuers.length > 0) lines.push(`Roles that may enqueue until then: ${plain(enqueuers.join(', '))}`)
  if (sessions.length > 0)
    lines.push(`Alive: ${countOf(sessions.length, 'session')} of supervisors and workers`)
  return lines.join('\n')
}
