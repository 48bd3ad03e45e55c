import * as Args from '@oclif/core/args'
import { ConfigCommand, scopeFlags } from '../../config-command.js'
import { storeParameter } from '../../engine/settings.js'

export default class ConfigSet extends ConfigCommand {
  static override summary = 'store a parameter; it is in force at once'
  static override examples = [
    '<%= config.bin %> <%= command.id %> max_parallel_running_tasks_count 2 --topic reporting',
    '<%= config.bin %> <%= command.id %> retry_count 3',
    '<%= config.bin %> <%= command.id %> paused true --topic mail',
  ]
  static override strict = true
  static override args = {
    name: Args.string({ description: 'name of the parameter', required: true }),
    value: Args.string({ description: 'its value', required: true }),
  }
  static override flags = scopeFlags

  async run(): Promise<void> {
    const { args, flags } = await this.parse(ConfigSet)
    const scope = this.scope(flags)
    const { database } = await this.openQueue(flags)
    await this.lookUp(database, args.name, scope)
    await storeParameter(database, scope.lane, args.name, args.value)
    const parameter = await this.lookUp(database, args.name, scope)
    this.print(
      parameter,
      `${args.name} of ${scope.words} is ${parameter.value}${parameter.capped ? ' (capped by the queue’s limit)' : ''}`,
    )
  }
}
