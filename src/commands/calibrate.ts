import * as Flags from '@oclif/core/flags'
import { BaseCommand } from '../base-command.js'

interface Report extends Record<string, unknown> {
  before: number
  after: number
  rescued: bigint[]
  pruned: number
}

export default class Calibrate extends BaseCommand {
  static override summary = 'recount running tasks against the real backends, and repair'
  static override description =
    'Forgets workers whose backends are gone and makes their tasks pending again. --adopt lets the queue of a restored or cloned database run here.'
  static override examples = [
    '<%= config.bin %> <%= command.id %>',
    '<%= config.bin %> <%= command.id %> --adopt',
  ]
  static override flags = {
    adopt: Flags.boolean({ description: 'this copy of a database is to run its tasks itself' }),
  }

  async run(): Promise<void> {
    const { flags } = await this.parse(Calibrate)
    const { database } = await this.openQueue(flags)
    if (flags.adopt) await database.query('select background_queue.adopt()')
    const report = await database.one<Report>('select * from background_queue.calibrate()')
    const repaired =
      report.pruned === 0 && report.rescued.length === 0
        ? 'nothing to repair'
        : `${report.pruned} dead workers forgotten, ${report.rescued.length} tasks rescued`
    this.print(report, `${report.after} tasks running, ${repaired}`)
  }
}
