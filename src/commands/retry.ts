import * as Args from '@oclif/core/args'
import * as Flags from '@oclif/core/flags'
import { ActingCommand, countOf, topicsOf, yesFlag } from '../acting-command.js'
import type { Outcome } from '../engine/acting/outcome.js'
import { listFailed, retryMany, retryTask } from '../engine/acting/retry.js'
import { parseDuration } from '../engine/duration.js'
import { usageError } from '../engine/errors.js'
import { progressLine } from '../output/progress.js'

const LONGEST_SINCE_MS = 36_500 * 86_400_000

export default class Retry extends ActingCommand {
  static override summary = 'run failed or cancelled tasks again'
  static override description =
    'The tasks become pending, and their attempts start again. With IDs: these. With --failed: all that failed, of a topic or since a while ago; says how many first, and asks on a terminal. Exit 1 if one of them could not be retried.'
  static override examples = [
    '<%= config.bin %> <%= command.id %> 42 43',
    '<%= config.bin %> <%= command.id %> --failed --topic mail --since 1h',
    '<%= config.bin %> <%= command.id %> --failed --yes',
  ]
  static override strict = false
  static override args = { id: Args.string({ description: 'ids of tasks' }) }
  static override flags = {
    failed: Flags.boolean({ description: 'all failed tasks' }),
    topic: Flags.string({
      description: 'only of this topic',
      multiple: true,
      multipleNonGreedy: true,
    }),
    'no-topic': Flags.boolean({ description: 'only without topic' }),
    since: Flags.string({
      description: 'only those that failed within this long, such as 1h',
    }),
    ...yesFlag,
  }

  async run(): Promise<void> {
    const { argv, flags } = await this.parse(Retry)
    const ids = this.parseIds(argv)
    checkChoice(ids, flags)
    const filter = {
      topics: topicsOf(flags),
      sinceMs:
        flags.since === undefined ? undefined : parseDuration(flags.since, '--since', LONGEST_SINCE_MS),
    }
    const { database, schema } = await this.openQueue(flags)
    if (!flags.failed) {
      const outcomes: Outcome[] = []
      for (const id of ids) outcomes.push(await retryTask(database, schema, id))
      return this.report(outcomes)
    }
    const found = await listFailed(database, schema, filter)
    if (found.length > 0) {
      this.note(`${countOf(found.length, 'failed task')} will run again`)
      await this.agree('Go on?', flags.yes)
    }
    const progress = progressLine('retried')
    const refused = await retryMany(database, schema, found, (n) => progress.show(n, found.length))
    progress.clear()
    this.printMany(found.length, refused)
  }

  private printMany(matched: number, refused: Outcome[]): void {
    const retried = matched - refused.length
    this.print(
      { matched, retried, refused },
      [countOf(retried, 'task').concat(' retried'), ...refused.map((r) => r.message)].join('\n'),
    )
    if (refused.length > 0) process.exitCode = 1
  }
}

function checkChoice(
  ids: bigint[],
  flags: { failed: boolean; topic?: string[] | undefined; 'no-topic': boolean; since?: string | undefined },
): void {
  if (flags.failed && ids.length > 0) throw usageError('USAGE', 'IDs do not go with --failed')
  if (flags.failed) return
  if (flags.topic || flags['no-topic'] || flags.since !== undefined)
    throw usageError('USAGE', '--topic, --no-topic and --since go only with --failed')
  if (ids.length === 0) throw usageError('USAGE', 'Expected IDs or --failed')
}
