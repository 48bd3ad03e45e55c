import { BaseCommand } from '../../base-command.js'
import { startEmbedded } from '../../embedded/server.js'

export default class EmbeddedStart extends BaseCommand {
  static override summary = 'start the embedded PostgreSQL'
  static override description =
    'A real server from an npm package, with its data in your data folder, on a private unix socket.'
  static override examples = ['<%= config.bin %> <%= command.id %>']

  async run(): Promise<void> {
    await this.parse(EmbeddedStart)
    const { url, dataDir, pid, version, started } = await startEmbedded({
      onProgress: (message) => this.note(message),
    })
    const text = `PostgreSQL ${version} ${started ? 'is running now' : 'was running'} (pid ${pid})\n${url}`
    this.print({ url, data_dir: dataDir, pid, version, started }, text)
  }
}
