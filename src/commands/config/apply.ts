import * as Flags from '@oclif/core/flags'
import { ConfigCommand } from '../../config-command.js'
import { applyChanges, planChanges, type SettingChange, sayLane } from '../../engine/config-apply.js'
import { readConfigFile } from '../../engine/config-file.js'
import { usageError } from '../../engine/errors.js'
import { plain } from '../../output/plain.js'

export default class ConfigApply extends ConfigCommand {
  static override summary = 'make the stored parameters equal to the configuration file'
  static override description =
    'Takes "parameters" and "topics" of the file, stores what differs, removes what the file does not name, and prints the difference.'
  static override examples = [
    '<%= config.bin %> <%= command.id %> --dry-run',
    '<%= config.bin %> <%= command.id %> --config deploy/.pgbqrc.yaml',
  ]
  static override flags = { 'dry-run': Flags.boolean({ description: 'print the difference, store nothing' }) }

  async run(): Promise<void> {
    const { flags } = await this.parse(ConfigApply)
    const file = await readConfigFile(flags.config)
    if (!file)
      throw usageError(
        'CONFIG_MISSING',
        'No configuration file was found',
        'pgbq config apply --config .pgbqrc.yaml',
      )
    const { database } = await this.openQueue(flags)
    const changes = await planChanges(database, file)
    if (!flags['dry-run']) await applyChanges(database, changes)
    const text =
      changes.length === 0 ? `The stored parameters equal "${file.path}"` : changes.map(line).join('\n')
    this.print({ file: file.path, applied: !flags['dry-run'], changes: changes.map(toJson) }, text)
  }
}

function line({ lane, name, from, to }: SettingChange): string {
  const scope = lane === '' ? '' : ` of ${plain(sayLane(lane))}`
  return `${name}${scope}: ${from ?? '(not stored)'} → ${to ?? '(removed)'}`
}

function toJson({ lane, name, from, to }: SettingChange): Record<string, unknown> {
  return { name, topic: lane === '' ? null : lane.slice(1), from, to }
}
