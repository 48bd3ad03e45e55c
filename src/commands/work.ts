import type { Interfaces } from '@oclif/core'
import * as Flags from '@oclif/core/flags'
import { BaseCommand, directUrlFlag } from '../base-command.js'
import { type FileConfig, readConfigFile } from '../engine/config-file.js'
import { parseCount } from '../engine/count.js'
import type { ConnectionTarget } from '../engine/database/target.js'
import { parseDuration } from '../engine/duration.js'
import type { Emit } from '../engine/events.js'
import { chooseMetrics, type MetricsChoice } from '../engine/metrics/choice.js'
import type { Metrics } from '../engine/metrics/metrics.js'
import type { SupervisorOptions } from '../engine/supervisor/options.js'
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
    '<%= config.bin %> <%= command.id %> --direct-url postgresql://app@server:5432/app',
    '<%= config.bin %> <%= command.id %> --metrics-port 9187',
  ]
  static override flags = {
    'direct-url': directUrlFlag,
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
    'metrics-port': Flags.string({
      description:
        'serve Prometheus metrics at /metrics and probes at /healthz on this port (0: any free one)',
    }),
    'metrics-host': Flags.string({ description: 'address to serve them on (default: 127.0.0.1)' }),
    'metrics-file': Flags.string({
      description: 'write metrics to this file every 10 s, for the textfile collector of node_exporter',
    }),
    'log-format': Flags.string({
      description: 'events as text for people or JSON for machines',
      options: ['text', 'json'],
    }),
  }

  async run(): Promise<void> {
    const { flags } = await this.parse(Work)
    const found = await readConfigFile(flags.config)
    const file = found?.config ?? {}
    const choice = chooseMetrics(flags, found)
    const { target, isEmbedded } = await this.findTarget(flags)
    if (isEmbedded) await (await this.connect(flags)).close()
    const format = this.wantsJson ? 'json' : (flags['log-format'] ?? file.log_format ?? 'text')
    const print = eventPrinter(format as 'text' | 'json')
    let metrics: Metrics | undefined
    const emit: Emit = (event) => {
      print(event)
      metrics?.note(event)
    }
    const supervisor = new Supervisor({
      ...supervisorOptions(flags, file),
      target,
      version: this.config.version,
      isPrivateServer: isEmbedded,
      emit,
      onTick: () => metrics?.beat(),
    })
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const)
      process.on(signal, () => supervisor.stop(signal))
    metrics = await startMetrics(choice, target, emit)
    try {
      await supervisor.run()
    } finally {
      await metrics?.stop()
    }
  }

  /** One line for each object, as the events are, also for an error. */
  protected override format(json: unknown): string {
    return toJson(json, 0)
  }
}

type WorkFlags = Interfaces.InferredFlags<typeof Work.flags>

function supervisorOptions(
  flags: WorkFlags,
  file: FileConfig,
): Omit<SupervisorOptions, 'target' | 'version' | 'emit'> {
  return {
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
  }
}

/** Their library is loaded only where somebody asked for them. */
async function startMetrics(
  choice: MetricsChoice,
  target: ConnectionTarget,
  emit: Emit,
): Promise<Metrics | undefined> {
  if (choice.port === undefined && choice.file === undefined) return undefined
  const { Metrics } = await import('../engine/metrics/metrics.js')
  return Metrics.start(choice, target, emit)
}

function optionalDuration(value: string | undefined, flag: string): number | undefined {
  return value === undefined ? undefined : parseDuration(String(value), flag)
}

/** The lanes of --topic and --no-topic; null serves all. */
function lanesOf(topics: string[] = [], noTopic = false): string[] | null {
  if (topics.length === 0 && !noTopic) return null
  return [...topics.map((topic) => `/${topic}`), ...(noTopic ? ['/'] : [])]
}
