import * as Args from '@oclif/core/args'
import { ConfigCommand, scopeFlags } from '../../config-command.js'

export default class ConfigGet extends ConfigCommand {
  static override summary = 'print the value of one parameter'
  static override examples = [
    '<%= config.bin %> <%= command.id %> retry_count',
    '<%= config.bin %> <%= command.id %> delay_in_sec --topic mail',
  ]
  static override args = { name: Args.string({ description: 'name of the parameter', required: true }) }
  static override flags = scopeFlags

  async run(): Promise<void> {
    const { args, flags } = await this.parse(ConfigGet)
    const scope = this.scope(flags)
    const { database } = await this.openQueue(flags)
    const parameter = await this.lookUp(database, args.name, scope)
    this.print(parameter, String(parameter.value))
  }
}
