import { BaseCommand } from '../../base-command.js'
import { stopEmbedded } from '../../embedded/server.js'

export default class EmbeddedStop extends BaseCommand {
  static override summary = 'stop the embedded PostgreSQL; its data stays'
  static override examples = ['<%= config.bin %> <%= command.id %>']

  async run(): Promise<void> {
    await this.parse(EmbeddedStop)
    const { stopped } = await stopEmbedded()
    this.print(
      { stopped },
      stopped ? 'The embedded PostgreSQL is stopped' : 'The embedded PostgreSQL was not running',
    )
  }
}
