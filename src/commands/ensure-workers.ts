import { userInfo } from 'node:os'
import { join, resolve } from 'node:path'
import * as Flags from '@oclif/core/flags'
import { BaseCommand, directUrlFlag } from '../base-command.js'
import { readConfigFile } from '../engine/config-file.js'
import { parseCount } from '../engine/count.js'
import { chosenUrl, resolveTarget } from '../engine/database/target.js'
import { parseDuration } from '../engine/duration.js'
import { defaultLogFile, ensureWorkers } from '../engine/ensure-workers.js'
import { usageError } from '../engine/errors.js'
import { type OwnCall, ownCall } from '../engine/schedule/own-call.js'
import { toJson } from '../output/json.js'
import { crontabLine } from '../output/schedule/crontab.js'
import { systemdFiles } from '../output/schedule/systemd.js'

/** systemd waits so much longer for the end than a stop may take. */
const STOP_MARGIN_SEC = 15

type EnsureFlags = Awaited<ReturnType<EnsureWorkers['readFlags']>>

export default class EnsureWorkers extends BaseCommand {
  static override summary = 'make sure that somebody works while tasks are due'
  static override description =
    'Wakes the supervisor of this host; where there is none and tasks are due, starts one that runs detached and leaves when it is idle. --print-crontab and --print-systemd print what makes this very call, with its flags, connection and configuration file, once a minute; they change nothing.'
  static override examples = [
    '<%= config.bin %> <%= command.id %>',
    '<%= config.bin %> <%= command.id %> --concurrency 4 --idle-timeout 1h',
    '(crontab -l; <%= config.bin %> <%= command.id %> --print-crontab) | crontab -',
    '<%= config.bin %> <%= command.id %> --print-systemd',
  ]
  static override flags = {
    'direct-url': directUrlFlag,
    concurrency: Flags.string({ description: 'slots of the supervisor, 1 to 64' }),
    'idle-timeout': Flags.string({
      description: 'the supervisor leaves after this long without work',
      default: '10m',
    }),
    'log-file': Flags.string({
      description: 'where the supervisor writes what it does (default: in the state folder)',
    }),
    foreground: Flags.boolean({
      description: 'where a supervisor is missing, be it, instead of starting a detached one',
      exclusive: ['log-file'],
    }),
    'print-crontab': Flags.boolean({
      description: 'print the line for a crontab',
    }),
    'print-systemd': Flags.boolean({
      description: 'print a unit and a timer for systemd',
      exclusive: ['print-crontab'],
    }),
  }

  async run(): Promise<void> {
    const flags = await this.readFlags()
    if (flags['print-crontab']) return this.printCrontab(flags)
    if (flags['print-systemd']) return this.printSystemd(flags)
    const { database } = await this.openQueue(flags)
    const name = String(database.target.config.database)
    const logFile = flags['log-file'] === undefined ? defaultLogFile(name) : resolve(flags['log-file'])
    const workArguments = [...ownFlags(flags), ...(flags.config ? ['--config', resolve(flags.config)] : [])]
    const report = await ensureWorkers(database, {
      target: this.isEmbedded ? { ...database.target, url: 'embedded' } : database.target,
      program: this.program,
      workArguments,
      logFile,
      isForeground: flags.foreground,
    })
    const { due, active, limit, started } = report
    const what = started
      ? `started a supervisor${flags.foreground ? '' : `, log: ${logFile}`}`
      : due === 0n
        ? 'nothing to start'
        : 'woke the supervisor'
    this.print(report, `${due} due, ${active} of ${limit} running: ${what}`)
    if (!flags.foreground || started === 0) return
    await database.close()
    await this.config.runCommand('work', [...workArguments, ...this.connectionWords(flags)])
  }

  async readFlags() {
    const { flags } = await this.parse(EnsureWorkers)
    parseDuration(flags['idle-timeout'], '--idle-timeout')
    parseCount(flags.concurrency, '--concurrency', 1)
    return flags
  }

  private async printCrontab(flags: EnsureFlags): Promise<void> {
    const logFile = flags['log-file'] === undefined ? [] : ['--log-file', resolve(flags['log-file'])]
    const call = await this.ownCall(flags, [...logFile, ...(flags.foreground ? ['--foreground'] : [])])
    const line = crontabLine(call)
    this.print({ crontab: line }, line)
    this.notePassword(call)
  }

  private async printSystemd(flags: EnsureFlags): Promise<void> {
    if (flags['log-file'] !== undefined)
      throw usageError(
        'USAGE',
        'A unit of systemd writes to the journal, so --log-file has no meaning for it',
      )
    const call = await this.ownCall(flags, ['--foreground'])
    const file = (await readConfigFile(flags.config))?.config
    const stopMs = parseDuration(String(file?.shutdown_timeout ?? '30s'), 'shutdown_timeout')
    const files = systemdFiles(call, {
      user: userInfo().username,
      stopWithinSec: Math.ceil(stopMs / 1000) + STOP_MARGIN_SEC,
    })
    const text = [files.service, files.timer].map((f) => `# /etc/systemd/system/${f.name}\n${f.text}`)
    this.print(files, text.join('\n').trimEnd())
    this.notePassword(call)
  }

  /** This call, as it can be made from anywhere. */
  private async ownCall(flags: EnsureFlags, more: string[]): Promise<OwnCall> {
    const file = await readConfigFile(flags.config)
    const sources = this.sources(flags, file?.config)
    const { file: _, direct, ...outer } = sources
    const url = flags.embedded ? 'embedded' : chosenUrl({ ...outer, direct: { flag: direct?.flag } })
    const chosen = url ?? chosenUrl(sources)
    const schema = flags.schema === undefined ? [] : ['--schema', flags.schema]
    return ownCall({
      words: [process.execPath, this.program, 'ensure-workers', ...ownFlags(flags), ...more, ...schema],
      target: chosen === 'embedded' ? undefined : resolveTarget(chosen),
      url,
      configPath: file?.path,
    })
  }

  private notePassword({ passwordLine }: OwnCall): void {
    if (passwordLine !== undefined)
      this.note(`The password is not printed; it has to stand in ~/.pgpass (chmod 600): ${passwordLine}`)
  }

  private connectionWords(flags: EnsureFlags): string[] {
    return [
      ...(flags['database-url'] === undefined ? [] : ['--database-url', flags['database-url']]),
      ...(flags['direct-url'] === undefined ? [] : ['--direct-url', flags['direct-url']]),
      ...(flags.embedded ? ['--embedded'] : []),
      ...(this.wantsJson ? ['--json'] : []),
    ]
  }

  /** In the foreground one line for each object, as the supervisor's events are. */
  protected override format(json: unknown): string {
    return this.argv.includes('--foreground') ? toJson(json, 0) : super.format(json)
  }

  private get program(): string {
    return join(this.config.root, 'bin', 'run.js')
  }
}

/** What the supervisor is told, as ensure-workers and work both take it. */
function ownFlags(flags: { concurrency?: string | undefined; 'idle-timeout': string }): string[] {
  return [
    ...['--idle-timeout', flags['idle-timeout']],
    ...(flags.concurrency === undefined ? [] : ['--concurrency', flags.concurrency]),
  ]
}
