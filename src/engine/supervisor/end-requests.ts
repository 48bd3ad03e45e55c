import type { RunningTask } from '../worker/ipc.js'
import type { Link } from './link.js'
import type { WorkerProcess } from './worker-process.js'

/** How long a cancelled statement may go on before its backend is ended, and then its process. */
const GRACE_MS = 3000
const ASK_AGAIN_MS = 500

interface Watched {
  task: RunningTask
  timeoutAt: number
  isRequested: boolean
  reason: string
  by: string
  askAgainAt: number
  terminateAt: number
  killAt: number
}

/** Ends of running attempts: time-outs, cancels and releases; first asked for, then forced. */
export class EndRequests {
  private readonly link: Link
  private readonly watched = new Map<WorkerProcess, Watched>()

  constructor(link: Link) {
    this.link = link
  }

  watch(worker: WorkerProcess, task: RunningTask): void {
    const timeoutAt =
      task.timeoutInSec === null ? Number.POSITIVE_INFINITY : performance.now() + task.timeoutInSec * 1000
    this.watched.set(worker, {
      task,
      timeoutAt,
      isRequested: false,
      reason: '',
      by: '',
      askAgainAt: Number.POSITIVE_INFINITY,
      terminateAt: Number.POSITIVE_INFINITY,
      killAt: Number.POSITIVE_INFINITY,
    })
  }

  forget(worker: WorkerProcess): void {
    this.watched.delete(worker)
  }

  /** When the next deadline falls, on the clock of performance.now(). */
  get nextAt(): number {
    const times = [...this.watched.values()].map((w) =>
      w.isRequested ? Math.min(w.askAgainAt, w.terminateAt, w.killAt) : w.timeoutAt,
    )
    return Math.min(Number.POSITIVE_INFINITY, ...times)
  }

  /** Asks for the end of what a worker runs, if that is still this task (and this attempt, where a token tells it). */
  async request(
    worker: WorkerProcess,
    taskId: bigint,
    token: string | null,
    reason: string,
    by: string,
    isAgain = false,
  ): Promise<void> {
    const watched = this.watched.get(worker)
    if (!watched || watched.task.id !== taskId || worker.id === null || !worker.backend) return
    if (watched.isRequested && reason === 'release' && !isAgain) return
    const isFirst = !watched.isRequested
    watched.isRequested = true
    Object.assign(watched, { reason, by, askAgainAt: performance.now() + ASK_AGAIN_MS })
    if (isFirst) watched.terminateAt = performance.now() + GRACE_MS
    const { control } = this.link
    try {
      await control.requestEnd(worker.id, taskId, token, reason, by, worker.backend)
    } catch (error) {
      if (isFirst) this.postpone(watched)
      if (control.database.lost) throw error
    }
  }

  /** The request did not get through (somebody held the row, the server took no cancel): ask again. */
  private postpone(watched: Watched): void {
    watched.isRequested = false
    watched.terminateAt = Number.POSITIVE_INFINITY
    if (performance.now() >= watched.timeoutAt) watched.timeoutAt = performance.now() + ASK_AGAIN_MS
  }

  /** Time-outs that are due, and force where asking did not help. */
  async enforce(busy: WorkerProcess[]): Promise<void> {
    const now = performance.now()
    for (const worker of busy) {
      const watched = this.watched.get(worker)
      if (!watched) continue
      if (!watched.isRequested && now >= watched.timeoutAt) {
        await this.request(worker, watched.task.id, watched.task.token, 'timeout', this.link.control.role)
      } else if (now >= watched.killAt) {
        worker.kill()
      } else if (now >= watched.terminateAt) {
        watched.terminateAt = Number.POSITIVE_INFINITY
        watched.askAgainAt = Number.POSITIVE_INFINITY
        watched.killAt = now + GRACE_MS / 2
        await this.link.control.terminate(worker.backend!.pid)
      } else if (watched.isRequested && now >= watched.askAgainAt) {
        await this.askAgain(worker, watched)
      }
    }
  }

  /** A cancel that came between two statements hit neither. */
  private askAgain(worker: WorkerProcess, { task, reason, by }: Watched): Promise<void> {
    return this.request(worker, task.id, task.token, reason, by, true)
  }
}
