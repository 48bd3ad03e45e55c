import * as Args from '@oclif/core/args'
import { BaseCommand } from '../base-command.js'
import { SCRIPTS, SHELLS } from '../completion/scripts.js'

export default class Completion extends BaseCommand {
  static override summary = 'print the completion script of a shell'
  static override description =
    'Completes commands, flags, states, and from the queue itself topics, parameters and ids of tasks. bash: eval "$(pgbq completion bash)" in ~/.bashrc. zsh: the same with zsh in ~/.zshrc, after compinit. fish: save it as ~/.config/fish/completions/pgbq.fish.'
  static override examples = [
    'eval "$(<%= config.bin %> <%= command.id %> bash)"',
    '<%= config.bin %> <%= command.id %> fish > ~/.config/fish/completions/pgbq.fish',
  ]
  static override args = {
    shell: Args.string({ description: 'bash, zsh or fish', options: [...SHELLS], required: true }),
  }

  async run(): Promise<void> {
    const { args } = await this.parse(Completion)
    const script = SCRIPTS[args.shell]!
    this.print({ shell: args.shell, script }, script.trimEnd())
  }
}
