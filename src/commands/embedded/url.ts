import { BaseCommand } from '../../base-command.js'
import { startEmbedded } from '../../embedded/server.js'

export default class EmbeddedUrl extends BaseCommand {
  static override summary = 'print the URL of the embedded PostgreSQL, started if need be'
  static override examples = ['psql "$(<%= config.bin %> <%= command.id %>)"']

  async run(): Promise<void> {
    await this.parse(EmbeddedUrl)
    const { url } = await startEmbedded({ onProgress: (message) => this.note(message) })
    this.print({ url }, url)
  }
}
