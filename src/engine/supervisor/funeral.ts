import type { Emit } from '../events.js'
import { EXIT_CONNECTION_LOST, EXIT_REFUSED, EXIT_SESSION_ENDED } from '../worker/ipc.js'
import type { Link } from './link.js'
import type { WorkerProcess } from './worker-process.js'

const LOOK_EVERY_MS = 25
/** A server or a host that goes down may take workers before us: a death counts only when we outlive it so long. */
const DOUBT_MS = 200

interface Dead {
  worker: WorkerProcess
  isDeath: boolean
  reason: string
  since: number
  isTerminated: boolean
}

/** Dead workers, until their backends are seen gone and their tasks are rescued. */
export class Funeral {
  private readonly link: Link
  private readonly emit: Emit
  private readonly dead = new Set<Dead>()

  constructor(link: Link, emit: Emit) {
    this.link = link
    this.emit = emit
  }

  get isEmpty(): boolean {
    return this.dead.size === 0
  }

  get nextAt(): number {
    return this.isEmpty ? Number.POSITIVE_INFINITY : performance.now() + LOOK_EVERY_MS
  }

  /**
   * Takes over a worker whose process is gone; a statement that it left behind is cancelled. A death is the task's
   * fault where its process died, or where the server said that it ends this one session. A connection that broke
   * without a word is the network's fault, and so is whatever happened while nobody could tell (isExcused).
   */
  add(
    worker: WorkerProcess,
    code: number | null,
    signal: string | null,
    reason: string,
    isExcused: boolean,
  ): void {
    const isExpected = worker.isStopping || worker.isUnresponsive || isExcused
    const isHarmless =
      [0, EXIT_CONNECTION_LOST, EXIT_REFUSED].includes(code ?? -1) ||
      (code === EXIT_SESSION_ENDED && worker.isDoubted)
    this.dead.add({
      worker,
      isDeath: !isExpected && !isHarmless,
      reason: `Worker ${worker.id} (pid ${worker.pid}) ${reason}`,
      since: performance.now(),
      isTerminated: false,
    })
    if (signal !== null || code !== 0)
      void this.link.control.cancelLeftover(worker.id!, worker.backend!).catch(() => undefined)
  }

  /** The server was away: no death that happened meanwhile is a task's fault. */
  distrust(): void {
    for (const dead of this.dead) dead.isDeath = false
  }

  async hold(): Promise<void> {
    for (const dead of this.dead) {
      const age = performance.now() - dead.since
      if (dead.isDeath && age < DOUBT_MS) continue
      const rescued = await this.link.control.bury(dead.worker.id!, dead.isDeath, dead.reason)
      if (rescued !== null) {
        this.dead.delete(dead)
        if (rescued.length > 0) this.emit({ event: 'rescued', taskIds: rescued, reason: dead.reason })
      } else if (age > 1000 && !dead.isTerminated) {
        dead.isTerminated = true
        await this.link.control.terminate(dead.worker.backend!.pid)
      }
    }
  }
}
