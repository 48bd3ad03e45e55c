import type { ConnectionTarget } from '../database/target.js'
import type { FromWorker } from '../worker/ipc.js'
import { WorkerProcess } from './worker-process.js'

export interface PoolHooks {
  onMessage(worker: WorkerProcess, message: FromWorker): void
  onExit(worker: WorkerProcess, code: number | null, signal: NodeJS.Signals | null): void
  targetOf(role: string): ConnectionTarget
  setsRole: boolean
}

/** Back-off for processes that die before they are ready: 100 ms, doubled up to 10 s. */
const FIRST_BACKOFF_MS = 100
const LAST_BACKOFF_MS = 10_000

/** The worker processes of one supervisor. Knows who is there, not what the queue holds. */
export class WorkerPool {
  readonly workers = new Set<WorkerProcess>()
  private readonly hooks: PoolHooks
  private backoffMs = 0
  private mayStartAt = 0

  constructor(hooks: PoolHooks) {
    this.hooks = hooks
  }

  start(role: string): WorkerProcess {
    const worker = new WorkerProcess(role, this.hooks.targetOf(role), this.hooks.setsRole, {
      onMessage: (from, message) => this.receive(from, message),
      onExit: (from, code, signal) => this.remove(from, code, signal),
    })
    this.workers.add(worker)
    return worker
  }

  private receive(worker: WorkerProcess, message: FromWorker): void {
    if (message.type === 'ready') {
      worker.isReady = true
      this.backoffMs = 0
    } else if (message.type === 'claimed') {
      worker.state = 'busy'
      worker.task = message.task
    } else if (message.type === 'ended') {
      worker.task = undefined
    } else if (message.type === 'idle') {
      worker.state = 'idle'
      worker.idleSince = performance.now()
    }
    this.hooks.onMessage(worker, message)
  }

  private remove(worker: WorkerProcess, code: number | null, signal: NodeJS.Signals | null): void {
    this.workers.delete(worker)
    if (!worker.isReady && !worker.isStopping) {
      this.backoffMs = Math.min(Math.max(this.backoffMs * 2, FIRST_BACKOFF_MS), LAST_BACKOFF_MS)
      this.mayStartAt = performance.now() + this.backoffMs
    }
    this.hooks.onExit(worker, code, signal)
  }

  /** Milliseconds until another process may be started; 0: now. */
  get startDelayMs(): number {
    return Math.max(0, this.mayStartAt - performance.now())
  }

  get active(): WorkerProcess[] {
    return [...this.workers].filter((w) => !w.isStopping)
  }

  ofRole(role: string): WorkerProcess[] {
    return this.active.filter((w) => this.hooks.setsRole || w.role === role)
  }

  get idle(): WorkerProcess[] {
    return this.active.filter((w) => w.state === 'idle')
  }

  get busy(): WorkerProcess[] {
    return [...this.workers].filter((w) => w.task !== undefined)
  }

  /** Wakes one idle worker; it wakes the next one when it has claimed. */
  wake(role?: string): boolean {
    const worker = this.idle.find((w) => role === undefined || this.hooks.setsRole || w.role === role)
    if (!worker) return false
    worker.state = 'busy'
    worker.send({ type: 'wake' })
    return true
  }

  byId(id: bigint): WorkerProcess | undefined {
    return [...this.workers].find((w) => w.id === id)
  }
}
