import * as Flags from '@oclif/core/flags'
import { BaseCommand } from '../base-command.js'
import { install } from '../engine/migrator.js'
import { sayInstall } from '../output/install-text.js'

export default class Install extends BaseCommand {
  static override summary = 'bring the queue in the database to this version'
  static override description =
    'Creates or upgrades the tables and functions in one transaction. Repeating it changes nothing; calls at the same time wait for each other.'
  static override examples = [
    '<%= config.bin %> <%= command.id %>',
    '<%= config.bin %> <%= command.id %> --schema jobs',
    '<%= config.bin %> <%= command.id %> --grant-enqueue app --grant-enqueue reports',
    '<%= config.bin %> <%= command.id %> --dry-run',
    '<%= config.bin %> <%= command.id %> --from-extension --owner app --stuck failed --dry-run',
  ]
  static override flags = {
    'from-extension': Flags.boolean({
      description: 'take tasks and settings over from the C extension pg_background_queue, and drop it',
    }),
    stuck: Flags.string({
      description: 'with --from-extension: what becomes of tasks in state running',
      options: ['pending', 'failed'],
      dependsOn: ['from-extension'],
    }),
    owner: Flags.string({
      description: 'with --from-extension: the role that shall own the queue and run the tasks that wait',
      dependsOn: ['from-extension'],
    }),
    'time-zone': Flags.string({
      description: "with --from-extension: the time zone of its instants (default: this role's)",
      dependsOn: ['from-extension'],
    }),
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
      fromExtension: flags['from-extension']
        ? {
            stuck: flags.stuck as 'pending' | 'failed' | undefined,
            owner: flags.owner,
            timeZone: flags['time-zone'],
          }
        : undefined,
    })
    this.print(report, sayInstall(report, flags['dry-run']))
  }
}
