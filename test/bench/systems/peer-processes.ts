import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { LedgerTask } from '../ledger.js'
import type { PeerName, PeerPackages } from './peer-packages.js'

const KEPT_OUTPUT = 4000

/** The processes of another queue: one that fills it, and workers that a process manager would start anew. */
export class PeerProcesses {
  private readonly workers = new Map<number, ChildProcess>()
  private isStopping = false
  private failure: Error | undefined

  constructor(
    private readonly name: PeerName,
    private readonly packages: PeerPackages,
    private readonly url: string,
  ) {}

  /** Installs the queue and adds the tasks. */
  async fill(tasks: LedgerTask[]): Promise<void> {
    const child = this.fork('fill')
    child.send(tasks)
    const [code] = (await once(child, 'exit')) as [number | null]
    if (code !== 0) throw new Error(`${this.name} could not be filled: its process left with ${code}`)
  }

  async start(count: number): Promise<void> {
    await Promise.all(Array.from({ length: count }, () => this.startOne()))
  }

  /** True for a living worker of ours. Errors: a worker left unasked. */
  has(pid: number): boolean {
    if (this.failure !== undefined) throw this.failure
    return this.workers.has(pid)
  }

  kill(pid: number): void {
    const worker = this.workers.get(pid)
    if (worker === undefined) throw new Error(`No worker of ${this.name} has the pid ${pid}`)
    this.workers.delete(pid)
    worker.kill('SIGKILL')
    this.startOne().catch((error: Error) => {
      this.failure ??= error
    })
  }

  async stop(): Promise<void> {
    this.isStopping = true
    const living = [...this.workers.values()].filter((w) => w.exitCode === null && w.signalCode === null)
    await Promise.all(
      living.map((worker) => {
        const exited = once(worker, 'exit')
        worker.kill('SIGKILL')
        return exited
      }),
    )
  }

  private async startOne(): Promise<void> {
    if (this.isStopping) return
    const worker = this.fork('work')
    const pid = worker.pid!
    const output = collect(worker)
    this.workers.set(pid, worker)
    worker.on('exit', (code, signal) => {
      if (this.isStopping || !this.workers.has(pid)) return
      this.failure ??= new Error(`A worker of ${this.name} left with ${code ?? signal}: ${output()}`)
    })
    await Promise.race([once(worker, 'message'), once(worker, 'exit')])
  }

  private fork(mode: 'fill' | 'work'): ChildProcess {
    return fork(fileURLToPath(new URL(`programs/${this.name}.js`, import.meta.url)), [mode], {
      execPath: this.packages.node,
      env: { ...process.env, BENCH_URL: this.url, BENCH_PACKAGES: this.packages.folder },
      stdio: mode === 'fill' ? ['ignore', 'ignore', 'inherit', 'ipc'] : ['ignore', 'pipe', 'pipe', 'ipc'],
    })
  }
}

/** The end of what a process says. */
function collect(child: ChildProcess): () => string {
  let text = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (chunk: string) => {
      text = (text + chunk).slice(-KEPT_OUTPUT)
    })
  }
  return () => text
}
