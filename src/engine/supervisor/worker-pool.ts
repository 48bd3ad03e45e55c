import type { ConnectionTarget } from '../database/target.js'
import type { FromWorker } from '../worker/ipc.js'
import { WorkerProcess } from './worker-process.js'

export interface PoolHooks {
  onMessage(worker: WorkerProcess, message: FromWorker): void
  onExit(worker: WorkerProcess, code: number | null, signal: NodeJS.Signals | null): void
  targetOf(role: string): ConnectionTarget
  setsRole: boolean
}

/** Back-off for a role's processes that die before they have looked for a task: 100 ms, doubled up to 10 s. */
const FIRST_BACKOFF_MS = 100
const LAST_BACKOFF_MS = 10_000

/** The worker processes of one supervisor. Knows who is there, not what the queue holds. */
export class WorkerPool {
  readonly workers = new Set<WorkerProcess>()
  private readonly hooks: PoolHooks
  private readonly backoffs = new Map<string, { delayMs: number; endsAt: number }>()

  constructor(hooks: PoolHooks) {
    this.hooks = hooks
  }

  start(role: string): WorkerProcess {
    const worker = new WorkerProcess(role, this.hooks.targetOf(role), {
      onMessage: (from, message) => this.receive(from, message),
      onExit: (from, code, signal) => this.remove(from, code, signal),
    })
    this.workers.add(worker)
    return worker
  }

  private receive(worker: WorkerProcess, message: FromWorker): void {
    if (message.type !== 'refused') worker.isDoubted = false
    if (message.type === 'ready') {
      worker.isReady = true
    } else if (message.type === 'claimed') {
      this.noteLook(worker)
      worker.state = 'busy'
      worker.task = message.task
    } else if (message.type === 'ended') {
      worker.task = undefined
    } else if (message.type === 'idle') {
      this.noteLook(worker)
      worker.state = 'idle'
      worker.idleSince = performance.now()
    }
    this.hooks.onMessage(worker, message)
  }

  private noteLook(worker: WorkerProcess): void {
    if (!worker.hasLooked) this.backoffs.delete(worker.role)
    worker.hasLooked = true
  }

  private remove(worker: WorkerProcess, code: number | null, signal: NodeJS.Signals | null): void {
    this.workers.delete(worker)
    worker.hasExited = true
    if (!worker.hasLooked && !worker.isStopping) this.backOff(worker.role)
    this.hooks.onExit(worker, code, signal)
  }

  /** Several that die together count once. */
  private backOff(role: string): void {
    const last = this.backoffs.get(role)
    if (last && last.endsAt > performance.now()) return
    const delayMs = Math.min((last?.delayMs ?? FIRST_BACKOFF_MS / 2) * 2, LAST_BACKOFF_MS)
    this.backoffs.set(role, { delayMs, endsAt: performance.now() + delayMs })
  }

  /** When the next process of a role that waits may be started, on the clock of performance.now(). */
  get nextStartAt(): number {
    const now = performance.now()
    const times = [...this.backoffs.values()].map((b) => b.endsAt).filter((at) => at > now)
    return Math.min(Number.POSITIVE_INFINITY, ...times)
  }

  mayStart(role: string): boolean {
    return (this.backoffs.get(role)?.endsAt ?? 0) <= performance.now()
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
