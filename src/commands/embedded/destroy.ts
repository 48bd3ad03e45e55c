import * as Flags from '@oclif/core/flags'
import { BaseCommand } from '../../base-command.js'
import { destroyEmbedded, embeddedStatus } from '../../embedded/server.js'
import { usageError } from '../../engine/errors.js'
import { answerTo, canAsk } from '../../output/ask.js'

export default class EmbeddedDestroy extends BaseCommand {
  static override summary = 'stop the embedded PostgreSQL and delete all its data'
  static override description =
    'Asks on a terminal; elsewhere it wants --yes. Nothing can bring the data back.'
  static override examples = [
    '<%= config.bin %> <%= command.id %>',
    '<%= config.bin %> <%= command.id %> --yes',
  ]
  static override flags = { yes: Flags.boolean({ char: 'y', description: 'do not ask' }) }

  async run(): Promise<void> {
    const { flags } = await this.parse(EmbeddedDestroy)
    const { exists, dataDir } = await embeddedStatus()
    const isSure = !exists || flags.yes || (await this.ask(dataDir))
    if (exists && isSure) await destroyEmbedded()
    const text = !exists
      ? `There is no embedded PostgreSQL in "${dataDir}"`
      : isSure
        ? `The embedded PostgreSQL and its data in "${dataDir}" are deleted`
        : 'Nothing was deleted'
    this.print({ destroyed: exists && isSure, data_dir: dataDir }, text)
    if (!isSure) process.exitCode = 1
  }

  private async ask(dataDir: string): Promise<boolean> {
    if (!canAsk() || this.wantsJson) {
      throw usageError(
        'NOT_CONFIRMED',
        `All data in "${dataDir}" would be deleted`,
        'pgbq embedded destroy --yes',
      )
    }
    const question = `Delete all data in "${dataDir}", every database of it? Type "yes": `
    return (await answerTo(question)) === 'yes'
  }
}
