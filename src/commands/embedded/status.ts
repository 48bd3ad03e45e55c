import { BaseCommand } from '../../base-command.js'
import { embeddedStatus } from '../../embedded/server.js'

export default class EmbeddedStatus extends BaseCommand {
  static override summary = 'say whether the embedded PostgreSQL runs'
  static override examples = ['<%= config.bin %> <%= command.id %> --json']

  async run(): Promise<void> {
    await this.parse(EmbeddedStatus)
    const { running, url, dataDir, pid, version } = await embeddedStatus()
    const text = running
      ? `PostgreSQL ${version} is running (pid ${pid})\n${url}`
      : `PostgreSQL ${version} is not running`
    this.print({ running, url, data_dir: dataDir, pid, version }, `${text}\ndata: ${dataDir}`)
  }
}
