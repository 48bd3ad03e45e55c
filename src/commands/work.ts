import { Flags } from '@oclif/core'
import { BaseCommand } from '../base-command.js'
import { readConfigFile } from '../engine/config-file.js'
import { parseCount } from '../engine/count.js'
import { parseDuration } from '../engine/duration.js'
import { Supervisor } from '../engine/supervisor/supervisor.js'
import { eventPrinter } from '../output/event-log.js'
import { toJson } from '../output/json.js'

export default class Work extends BaseCommand {
  static override summary = 'run tasks until stopped'
  static override description =
    `Supervises worker processes up to the concurrency limit. SIGTERM, SIGINT or SIGHUP: claims nothing more, lets running tasks end for --shutdown-timeout, then gives them back; a second signal gives them back at once.`
  static override examples = [
    '<%= config.bin %> <%= command.id %>',
    '<%= config.bin %> <%= command.id %> --concurrency 8 --topic mail --topic reports',
    '<%= config.bin %> <%= command.id %> --drain',
  ]
  static override flags = {
    concurrency: Flags.string({
      description: 'slots of this host, 1 to 64 (default: what the queue allows)',
    }),
    warm: Flags.string({ description: 'workers kept ready (default: all slots, at most 4)' }),
    topic: Flags.string({ description: 'serve only this topic', multiple: true, multipleNonGreedy: true }),
    'no-topic': Flags.boolean({ description: 'serve tasks without topic' }),
    drain: Flags.boolean({ description: 'leave when nothing is due, running or retrying' }),
    'idle-timeout': Flags.string({ description: 'leave after this long without work, such as 10m' }),
    'shutdown-timeout': Flags.string({
      description: 'how long running tasks may go on after a stop (default: 30s)',
    }),
    'run-as': Flags.string({
      description: "run other roles' tasks by logging in as them, or by SET ROLE (which trusts every task)",
      options: ['login', 'set-role'],
    }),
    'log-format': Flags.string({
      description: 'events as text for people or JSON for machines',
      options: ['text', 'json'],
    }),
  }

  async run(): Promise<void> {
    const { flags } = await this.parse(Work)
    const file = (await readConfigFile(flags.config))?.config ?? {}
    const { target, isEmbedded } = await this.findTarget(flags)
    if (isEmbedded) await (await this.connect(flags)).close()
    const format = this.wantsJson ? 'json' : (flags['log-format'] ?? file.log_format ?? 'text')
    const supervisor = new Supervisor({
      target,
      version: this.config.version,
      concurrency: parseCount(flags.concurrency ?? file.concurrency, '--concurrency', 1),
      warm: parseCount(flags.warm ?? file.warm, '--warm', 0),
      lanes: lanesOf(flags.topic, flags['no-topic']),
      isDraining: flags.drain,
      idleTimeoutMs: optionalDuration(flags['idle-timeout'] ?? file.idle_timeout, '--idle-timeout'),
      shutdownTimeoutMs: parseDuration(
        String(flags['shutdown-timeout'] ?? file.shutdown_timeout ?? '30s'),
        '--shutdown-timeout',
      ),
      runAs: (flags['run-as'] as 'login' | 'set-role' | undefined) ?? file.run_as ?? 'login',
      isPrivateServer: isEmbedded,
      emit: eventPrinter(format as 'text' | 'json'),
    })
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const)
      process.on(signal, () => supervisor.stop(signal))
    await supervisor.run()
  }

  /** One line for each object, as the events are, also for an error. */
  protected override format(json: unknown): string {
    return toJson(json, 0)
  }
}

function optionalDuration(value: string | undefined, flag: string): number | undefined {
  return value === undefined ? undefined : parseDuration(String(value), flag)
}

/** The lanes of --topic and --no-topic; null serves all. */
function lanesOf(topics: string[] = [], noTopic = false): string[] | null {
  if (topics.length === 0 && !noTopic) return null
  return [...topics.map((topic) => `/${topic}`), ...(noTopic ? ['/'] : [])]
}
