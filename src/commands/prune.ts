import * as Flags from '@oclif/core/flags'
import { ActingCommand, countOf, yesFlag } from '../acting-command.js'
import { planPrune, prune } from '../engine/acting/prune.js'
import { parseDuration } from '../engine/duration.js'
import { usageError } from '../engine/errors.js'
import { progressLine } from '../output/progress.js'

const LONGEST_AGE_MS = 36_500 * 86_400_000

export default class Prune extends ActingCommand {
  static override summary = 'delete closed tasks'
  static override description =
    'Deletes finished, failed and cancelled tasks with their attempts and notices, in transactions of 1,000: those older than --older-than, and those beyond the --keep that ended last. Without either: what the parameters retention_in_days and retention_max_tasks say, which a supervisor does by itself. Says how many first, and asks on a terminal.'
  static override examples = [
    '<%= config.bin %> <%= command.id %> --older-than 30d --dry-run',
    '<%= config.bin %> <%= command.id %> --older-than 7d --keep 100000',
    '<%= config.bin %> <%= command.id %> --keep 0 --yes',
  ]
  static override flags = {
    'older-than': Flags.string({ description: 'those that ended longer ago, such as 30d' }),
    keep: Flags.string({ description: 'those beyond so many that ended last' }),
    'dry-run': Flags.boolean({ description: 'say how many, delete nothing' }),
    ...yesFlag,
  }

  async run(): Promise<void> {
    const { flags } = await this.parse(Prune)
    const age = flags['older-than']
    const wanted = {
      olderThanMs: age === undefined ? undefined : parseDuration(age, '--older-than', LONGEST_AGE_MS),
      keep: parseKeep(flags.keep),
    }
    const { database, schema } = await this.openQueue(flags)
    const plan = await planPrune(database, schema, wanted)
    const tasks = countOf(plan.count, 'closed task')
    if (flags['dry-run'])
      return this.print({ matched: plan.count, pruned: 0 }, `Nothing was deleted. ${tasks} would be`)
    if (plan.count > 0n) {
      this.note(`${tasks} will be deleted`)
      await this.agree('Go on?', flags.yes)
    }
    const progress = progressLine('tasks deleted')
    const pruned = await prune(database, plan, (n) => progress.show(n, Number(plan.count)))
    progress.clear()
    this.print({ matched: plan.count, pruned }, `${countOf(pruned, 'closed task')} deleted`)
  }
}

function parseKeep(text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  if (!/^\d{1,12}$/.test(text))
    throw usageError(
      'INVALID_VALUE',
      `Expected --keep to be an integer from 0 to 999999999999, got "${text}"`,
    )
  return Number(text)
}
