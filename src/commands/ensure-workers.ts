import { join, resolve } from 'node:path'
import { Flags } from '@oclif/core'
import { BaseCommand } from '../base-command.js'
import { parseCount } from '../engine/count.js'
import { parseDuration } from '../engine/duration.js'
import { defaultLogFile, ensureWorkers } from '../engine/ensure-workers.js'

export default class EnsureWorkers extends BaseCommand {
  static override summary = 'make sure that somebody works while tasks are due'
  static override description =
    'Wakes the supervisor of this host; where there is none and tasks are due, starts one that runs detached and leaves when it is idle. For cron: * * * * * pgbq ensure-workers'
  static override examples = [
    '<%= config.bin %> <%= command.id %>',
    '<%= config.bin %> <%= command.id %> --concurrency 4 --idle-timeout 1h',
  ]
  static override flags = {
    concurrency: Flags.string({ description: 'slots of the supervisor, 1 to 64' }),
    'idle-timeout': Flags.string({
      description: 'the supervisor leaves after this long without work',
      default: '10m',
    }),
    'log-file': Flags.string({
      description: 'where the supervisor writes what it does (default: in the state folder)',
    }),
  }

  async run(): Promise<void> {
    const { flags } = await this.parse(EnsureWorkers)
    parseDuration(flags['idle-timeout'], '--idle-timeout')
    parseCount(flags.concurrency, '--concurrency', 1)
    const { database } = await this.openQueue(flags)
    const name = String(database.target.config.database)
    const logFile = flags['log-file'] === undefined ? defaultLogFile(name) : resolve(flags['log-file'])
    const report = await ensureWorkers(database, {
      target: this.isEmbedded ? { ...database.target, url: 'embedded' } : database.target,
      program: join(this.config.root, 'bin', 'run.js'),
      workArguments: [
        '--idle-timeout',
        flags['idle-timeout'],
        ...(flags.concurrency === undefined ? [] : ['--concurrency', flags.concurrency]),
        ...(flags.config === undefined ? [] : ['--config', resolve(flags.config)]),
      ],
      logFile,
    })
    const { due, active, limit, started } = report
    const counts = `${due} due, ${active} of ${limit} running`
    const what = started
      ? `started a supervisor, log: ${logFile}`
      : due === 0n
        ? 'nothing to start'
        : 'woke the supervisor'
    this.print(report, `${counts}: ${what}`)
  }
}
