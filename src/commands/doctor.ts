import { BaseCommand, type ConnectionFlags } from '../base-command.js'
import type { Check } from '../engine/doctor/check.js'
import { examine } from '../engine/doctor/doctor.js'
import { QueueError } from '../engine/errors.js'
import { doctorText } from '../output/doctor-text.js'

export default class Doctor extends BaseCommand {
  static override summary = 'look for what is wrong with the queue, its server and its workers'
  static override description =
    'Looks at everything and changes nothing. Each line is ok, a warning or a problem, with the way out. Exit 1 on a problem.'
  static override examples = [
    '<%= config.bin %> <%= command.id %>',
    '<%= config.bin %> <%= command.id %> --json',
  ]

  /** The checks say it. */
  protected override warnOnce(): void {}

  async run(): Promise<void> {
    const { flags } = await this.parse(Doctor)
    const checks = await this.examine(flags)
    this.print({ checks }, doctorText(checks, process.stdout.isTTY ? process.stdout.columns : undefined))
    if (checks.some((check) => check.level === 'problem')) process.exitCode = 1
  }

  /** A server that cannot be reached is the first thing to find. */
  private async examine(flags: ConnectionFlags): Promise<Check[]> {
    try {
      const database = await this.connect(flags)
      return await examine(database, { version: this.config.version, isPrivateServer: this.isEmbedded })
    } catch (error) {
      if (!(error instanceof QueueError) || error.usage) throw error
      return [{ name: 'connection', level: 'problem', message: error.message, fix: error.hint ?? null }]
    }
  }
}
