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

/** What was asked of a task whose worker had not told of it yet. */
interface Early {
  taskId: bigint
  reason: string
  by: string
}

/** Ends of running attempts: time-outs, cancels and releases; first asked for, then forced. */
export class EndRequests {
  private readonly link: Link
  private readonly watched = new Map<WorkerProcess, Watched>()
  private readonly early = new WeakMap<WorkerProcess, Early>()

  constructor(link: Link) {
    this.link = link
  }

  watch(worker: WorkerProcess, task: RunningTask): void {
    const timeoutAt =
      task.timeoutInSec === null ? Number.POSITIVE_INFINITY : performance.now() + task.timeoutInSec * 1000
    const watched: Watched = {
      task,
      timeoutAt,
      isRequested: false,
      reason: '',
      by: '',
      askAgainAt: Number.POSITIVE_INFINITY,
      terminateAt: Number.POSITIVE_INFINITY,
      killAt: Number.POSITIVE_INFINITY,
    }
    this.watched.set(worker, watched)
    const early = this.early.get(worker)
    if (early?.taskId !== task.id) return
    this.early.delete(worker)
    note(watched, early)
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

  /** Asks for the end of what a worker runs, if that is this task (and this attempt, where a token tells it). */
  async request(
    worker: WorkerProcess,
    taskId: bigint,
    token: string | null,
    reason: string,
    by: string,
    isAgain = false,
  ): Promise<void> {
    if (worker.id === null || !worker.backend) return
    const watched = this.watched.get(worker)
    const isKnown = watched?.task.id === taskId
    if (isKnown && watched.isRequested && reason === 'release' && !isAgain) return
    const isFirst = !isKnown || !watched.isRequested
    if (isKnown) note(watched, { reason, by })
    // the database knows better what it runs now; the worker will say so in a moment
    else this.early.set(worker, { taskId, reason, by })
    const { control } = this.link
    try {
      const isAsked = await control.requestEnd(worker.id, taskId, token, reason, by, worker.backend)
      if (!isAsked) this.early.delete(worker)
    } catch (error) {
      this.early.delete(worker)
      const current = this.watched.get(worker)
      if (isFirst && current?.task.id === taskId) this.postpone(current)
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

function note(watched: Watched, { reason, by }: Pick<Early, 'reason' | 'by'>): void {
  const now = performance.now()
  if (!watched.isRequested) watched.terminateAt = now + GRACE_MS
  Object.assign(watched, { isRequested: true, reason, by, askAgainAt: now + ASK_AGAIN_MS })
}
