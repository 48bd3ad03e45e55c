import * as Flags from '@oclif/core/flags'
import { BaseCommand } from '../base-command.js'
import { parseDuration } from '../engine/duration.js'
import { usageError } from '../engine/errors.js'
import { Screen } from '../output/screen.js'
import { tortureText } from '../output/torture-text.js'
import { OwnServer } from '../torture/own-server.js'
import { torture } from '../torture/torture.js'
import { FAULT_KINDS, type FaultKind } from '../torture/types.js'

export default class Torture extends BaseCommand {
  static override summary = 'prove on your own server that no fault loses or repeats a task'
  static override description =
    'Makes a scratch database, runs work there whose every effect can be audited, strikes it with faults, lets it come to rest, and looks: lost, run twice, stuck, above a limit, under a foreign role. Exit 1 if a promise was broken. Without --database-url it runs on a server of its own, which it may also restart, cut off and fill up. On a server that is given it needs the right to make databases.'
  static override examples = [
    '<%= config.bin %> <%= command.id %>',
    '<%= config.bin %> <%= command.id %> --duration 10m --json',
    '<%= config.bin %> <%= command.id %> --faults child-kill --rounds 1000',
    '<%= config.bin %> <%= command.id %> --database-url postgresql://app@db.internal/postgres --faults child-kill --faults freeze',
  ]
  static override flags = {
    duration: Flags.string({ description: 'inject faults for this long (default: 1m)' }),
    rounds: Flags.string({ description: 'inject so many faults', exclusive: ['duration'] }),
    faults: Flags.string({
      description: 'only faults of this kind',
      options: [...FAULT_KINDS],
      multiple: true,
      multipleNonGreedy: true,
    }),
    seed: Flags.string({ description: 'repeat the choices of a run (default: at random)' }),
    rate: Flags.string({ description: 'tasks enqueued a second', default: '30' }),
    pause: Flags.string({ description: 'between two faults, on average', default: '700ms' }),
  }

  async run(): Promise<void> {
    const { flags } = await this.parse(Torture)
    const rounds = whole(flags.rounds, '--rounds')
    const durationMs = rounds === undefined ? parseDuration(flags.duration ?? '1m', '--duration') : undefined
    const options = {
      rounds,
      durationMs,
      kinds: (flags.faults as FaultKind[] | undefined) ?? FAULT_KINDS,
      seed: whole(flags.seed, '--seed') ?? Math.floor(Math.random() * 1e6),
      tasksPerSecond: whole(flags.rate, '--rate')!,
      pauseMs: parseDuration(flags.pause, '--pause'),
    }
    const screen = new Screen(process.stderr)
    const stop = new AbortController()
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => stop.abort())
    const startedAt = Date.now()
    const elapsed = (): string => `${((Date.now() - startedAt) / 1000).toFixed(1).padStart(7)} s`
    const own = await this.ownServer(flags, screen)
    try {
      const server = own?.target ?? (await this.findTarget(flags)).target
      const report = await torture({
        ...options,
        server,
        own,
        signal: stop.signal,
        onStage: (stage) => screen.line(stage),
        onStrike: ({ kind, detail, victims }, round) =>
          screen.line(
            `${elapsed()}${String(round).padStart(5)}  ${kind.padEnd(16)} ${detail}${told(victims)}`,
          ),
      })
      this.print(report, tortureText(report))
      if (!report.ok) process.exitCode = 1
    } finally {
      await own?.destroy()
    }
  }

  private async ownServer(
    flags: { 'database-url'?: string | undefined },
    screen: Screen,
  ): Promise<OwnServer | undefined> {
    if (flags['database-url'] !== undefined && flags['database-url'] !== 'embedded') return undefined
    return OwnServer.start((message) => screen.line(message))
  }
}

const told = (victims: bigint[]): string => (victims.length === 0 ? '' : `, running ${victims.join(', ')}`)

function whole(text: string | undefined, flag: string): number | undefined {
  if (text === undefined) return undefined
  if (/^\d{1,9}$/.test(text) && (Number(text) > 0 || flag === '--seed')) return Number(text)
  throw usageError('INVALID_VALUE', `Expected ${flag} to be a positive integer, got "${text}"`)
}
