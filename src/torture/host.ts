import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

const RUN = fileURLToPath(new URL('../../bin/run.js', import.meta.url))
const LAST_LINES = 20

/** One line of `pgbq work --json`. */
export interface HostEvent extends Record<string, unknown> {
  time: string
  event: string
}

export interface HostOptions {
  name: string
  url: string
  slots: number
  passFile: string
  folder: string
  /** in front of the command, such as the way into a network namespace */
  wrapper?: string[] | undefined
  /** in place of `pgbq work`: tests put a broken one there */
  command?: string[] | undefined
  onEvent(event: HostEvent): void
}

/** A supervisor with its workers, as they would run on a host: the real program in processes of its own. */
export class Host {
  readonly name: string
  readonly process: ChildProcess
  /** pids of its workers, as it told of them */
  readonly workers = new Set<number>()
  readonly exited: Promise<number | null>
  isReady = false
  /** we ended it, so that its end is no surprise */
  isEnding = false
  private readonly said: string[] = []

  constructor(options: HostOptions) {
    const flags = [
      '--concurrency',
      String(options.slots),
      '--warm',
      String(options.slots),
      '--shutdown-timeout',
      '1s',
    ]
    const work = options.command ?? [process.execPath, RUN, 'work', '--json', ...flags]
    const [file, ...args] = [...(options.wrapper ?? []), ...work]
    this.name = options.name
    this.process = spawn(file!, args, {
      cwd: options.folder,
      env: environment(options),
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    createInterface({ input: this.process.stdout! }).on('line', (line) => this.read(line, options.onEvent))
    createInterface({ input: this.process.stderr! }).on('line', (line) => this.keep(line))
    this.process.on('error', (error) => this.keep(error.message))
    this.exited = once(this.process, 'close').then(() => this.process.exitCode)
  }

  get pid(): number {
    return this.process.pid ?? 0
  }

  get isAlive(): boolean {
    return this.process.exitCode === null && this.process.signalCode === null
  }

  /** The last lines that it wrote, events and errors. */
  get lastWords(): string {
    return this.said.join('\n')
  }

  kill(signal: NodeJS.Signals): void {
    if (this.isAlive) this.process.kill(signal)
  }

  /** Every process of the host at once. */
  killAll(signal: NodeJS.Signals): void {
    this.kill(signal)
    for (const pid of this.workers) sendSignal(pid, signal)
  }

  private read(line: string, onEvent: HostOptions['onEvent']): void {
    this.keep(line)
    let event: HostEvent
    try {
      event = JSON.parse(line) as HostEvent
    } catch {
      return
    }
    if (event.event === 'ready') this.isReady = true
    if (event.event === 'worker_started') this.workers.add(event.pid as number)
    if (event.event === 'worker_gone') this.workers.delete(event.pid as number)
    onEvent(event)
  }

  private keep(line: string): void {
    this.said.push(line)
    if (this.said.length > LAST_LINES) this.said.shift()
  }
}

/** False where the process is gone. */
export function sendSignal(pid: number, signal: NodeJS.Signals): boolean {
  try {
    return process.kill(pid, signal)
  } catch {
    return false
  }
}

function environment({ url, passFile }: HostOptions): NodeJS.ProcessEnv {
  const { PGBQ_LOG_FILE: _, NODE_OPTIONS: __, PGPASSWORD: ___, ...env } = process.env
  return { ...env, PGBQ_DATABASE_URL: url, PGBQ_DIRECT_URL: url, PGPASSFILE: passFile, NO_COLOR: '1' }
}
