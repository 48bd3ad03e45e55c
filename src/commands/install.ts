import { Flags } from '@oclif/core'
import { BaseCommand } from '../base-command.js'
import { install } from '../engine/migrator.js'

export default class Install extends BaseCommand {
  static override summary = 'bring the queue in the database to this version'
  static override description =
    'Creates or upgrades the tables and functions in one transaction. Repeating it changes nothing; calls at the same time wait for each other.'
  static override examples = [
    '<%= config.bin %> <%= command.id %>',
    '<%= config.bin %> <%= command.id %> --schema jobs',
    '<%= config.bin %> <%= command.id %> --grant-enqueue app --grant-enqueue reports',
    '<%= config.bin %> <%= command.id %> --dry-run',
  ]
  static override flags = {
    'dry-run': Flags.boolean({ description: 'say what would be done, change nothing' }),
    'grant-enqueue': Flags.string({
      description: 'let this role enqueue and run its own tasks',
      multiple: true,
      multipleNonGreedy: true,
    }),
    'revoke-enqueue': Flags.string({
      description: 'take that right from this role',
      multiple: true,
      multipleNonGreedy: true,
    }),
  }

  async run(): Promise<void> {
    const { flags } = await this.parse(Install)
    const database = await this.connect(flags)
    const report = await install(database, {
      schema: flags.schema,
      isDryRun: flags['dry-run'],
      grantEnqueue: flags['grant-enqueue'] ?? [],
      revokeEnqueue: flags['revoke-enqueue'] ?? [],
    })
    const steps = report.applied.length > 0 ? `: ${report.applied.join(', ')}` : ''
    const change =
      report.from === null
        ? `The queue is installed in schema "${report.schema}", version ${report.to}${steps}`
        : `The queue in schema "${report.schema}" is at version ${report.to}${report.from === report.to ? '' : `, before ${report.from}${steps}`}`
    this.print(
      report,
      flags['dry-run']
        ? `Nothing was changed. ${change}`.replace('is installed', 'would be installed')
        : change,
    )
  }
}
