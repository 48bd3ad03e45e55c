import { BaseCommand } from '../../base-command.js'

export default class EmbeddedPsql extends BaseCommand {
  static override summary = 'open psql on the embedded PostgreSQL, started if need be'
  static override description =
    'Runs the psql of this host. What stands behind -- is passed on to it; its exit code is ours.'
  static override examples = [
    '<%= config.bin %> <%= command.id %>',
    `<%= config.bin %> <%= command.id %> -- -c 'select count(*) from pg_background_tasks'`,
  ]
  static override strict = false

  async run(): Promise<void> {
    const { argv } = await this.parse(EmbeddedPsql)
    const { startEmbedded } = await import('../../embedded/server.js')
    const { runPsql } = await import('../../embedded/psql.js')
    const server = await startEmbedded({ onProgress: (message) => this.note(message) })
    process.exitCode = await runPsql(server, argv as string[])
  }
}
