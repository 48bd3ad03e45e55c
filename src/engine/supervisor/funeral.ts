import { sendCancelRequest } from '../database/cancel.js'
import type { Emit } from '../events.js'
import { EXIT_CONNECTION_LOST } from '../worker/ipc.js'
import type { Link } from './link.js'
import type { WorkerProcess } from './worker-process.js'

const LOOK_EVERY_MS = 25
/** A server that goes down takes workers before us; a lone loss of a backend counts only when we outlive it so long. */
const DOUBT_MS = 200

interface Dead {
  worker: WorkerProcess
  isDeath: boolean
  isConnectionLoss: boolean
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

  /** Takes over a worker whose process is gone; a statement that it left behind is cancelled. */
  add(
    worker: WorkerProcess,
    code: number | null,
    signal: string | null,
    reason: string,
    isStopping: boolean,
  ): void {
    const isExpected = worker.isStopping || isStopping
    this.dead.add({
      worker,
      isDeath:
        !isExpected &&
        (signal !== null || code !== 0) &&
        !(code === EXIT_CONNECTION_LOST && worker.isDoubted),
      isConnectionLoss: code === EXIT_CONNECTION_LOST,
      reason: `Worker ${worker.id} (pid ${worker.pid}) ${reason}`,
      since: performance.now(),
      isTerminated: false,
    })
    if (signal !== null)
      void sendCancelRequest(this.link.control.target, worker.backend!).catch(() => undefined)
  }

  /** The server was away: no death that happened meanwhile is a task's fault. */
  distrust(): void {
    for (const dead of this.dead) dead.isDeath = false
  }

  async hold(): Promise<void> {
    for (const dead of this.dead) {
      const age = performance.now() - dead.since
      if (dead.isConnectionLoss && dead.isDeath && age < DOUBT_MS) continue
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
