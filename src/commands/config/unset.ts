import * as Args from '@oclif/core/args'
import { ConfigCommand, scopeFlags } from '../../config-command.js'
import { storeParameter } from '../../engine/settings.js'

export default class ConfigUnset extends ConfigCommand {
  static override summary = 'remove a stored parameter; the next source holds'
  static override examples = ['<%= config.bin %> <%= command.id %> retry_count --topic mail']
  static override args = { name: Args.string({ description: 'name of the parameter', required: true }) }
  static override flags = scopeFlags

  async run(): Promise<void> {
    const { args, flags } = await this.parse(ConfigUnset)
    const scope = this.scope(flags)
    const { database } = await this.openQueue(flags)
    await this.lookUp(database, args.name, scope)
    await storeParameter(database, scope.lane, args.name, null)
    const parameter = await this.lookUp(database, args.name, scope)
    this.print(parameter, `${args.name} of ${scope.words} is ${parameter.value} (${parameter.source})`)
  }
}
