import type { Parts } from './parts.js'

/** When a supervisor leaves by itself, and how it takes leave of its workers. */
export class Leaving {
  private readonly parts: Parts

  constructor(parts: Parts) {
    this.parts = parts
  }

  /** Asks to stop where everything is quiet and that was the wish: drained, or idle for long enough. */
  async consider(): Promise<void> {
    const { agenda, funeral, link, options, pool, refused } = this.parts
    if (pool.busy.length > 0) agenda.noteWork()
    if (!this.isQuiet || !funeral.isEmpty) return
    const { idleTimeoutMs, isDraining, lanes } = options
    if (isDraining && !(await link.control.hasWork(refused.names, lanes))) {
      if (!this.isQuiet) return
      for (const left of await link.control.leftBehind(refused.names, lanes))
        options.emit({ event: 'left', ...left })
      this.stop('drained')
    } else if (idleTimeoutMs !== undefined && agenda.idleForMs > idleTimeoutMs) {
      this.stop('idle')
    }
  }

  private get isQuiet(): boolean {
    return this.parts.pool.idle.length === this.parts.pool.active.length
  }

  private stop(reason: string): void {
    this.parts.stopPlan.request(reason)
    this.parts.agenda.ring()
  }

  private announce(): void {
    const { options, pool, stopPlan } = this.parts
    if (stopPlan.isAnnounced) return
    stopPlan.isAnnounced = true
    options.emit({ event: 'stopping', reason: stopPlan.reason })
    for (const worker of pool.workers) worker.stop()
  }

  /** Tells workers to claim nothing more; once the time is over, gives back what they run. */
  async round(): Promise<void> {
    const { ends, link, pool, stopPlan } = this.parts
    this.announce()
    if (!stopPlan.isOverdue) return
    for (const worker of pool.workers) {
      const { task } = worker
      if (task) await ends.request(worker, task.id, task.token, 'release', link.control.role)
      else if (stopPlan.isLongOverdue) worker.kill()
    }
  }

  /** The same without the server: what outlasts its time is ended, and another supervisor rescues it. */
  roundAlone(): void {
    const { pool, stopPlan } = this.parts
    this.announce()
    if (stopPlan.isOverdue) for (const worker of pool.workers) worker.kill()
  }
}
