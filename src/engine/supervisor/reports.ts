import { randomBytes } from 'node:crypto'
import { poolExhausted } from '../database/pooler.js'
import { withoutSql } from '../events.js'
import { EXIT_REFUSED, type Followed, type FromWorker } from '../worker/ipc.js'
import { TICK_AFTER_NOTIFY_MS } from './agenda.js'
import type { Parts } from './parts.js'
import type { WorkerProcess } from './worker-process.js'

/** What workers report, and how they leave: notes for the loop, and events. */
export class Reports {
  private readonly parts: Parts
  /** all workers that are kept ready have been so once */
  private hasBeenStaffed = false

  constructor(parts: Parts) {
    this.parts = parts
  }

  onMessage(worker: WorkerProcess, message: FromWorker): void {
    const { agenda, log, options, staffing } = this.parts
    if (message.type === 'lines') {
      log.keep(message.task, message.lines, () => worker.send({ type: 'noted' }))
      // nothing that the loop would have to act on
      return
    }
    if (message.type === 'connected') {
      void this.register(worker, message)
    } else if (message.type === 'ready') {
      this.hasBeenStaffed ||= staffing.isWarm
      options.emit({ event: 'worker_started', workerId: worker.id!, pid: worker.pid, role: worker.role })
    } else if (message.type === 'claimed') {
      this.onClaimed(worker, message)
    } else if (message.type === 'ended') {
      this.onEnded(worker, message)
    } else if (message.type === 'followed') {
      for (const run of message.runs) this.onFollowed(worker, run)
    } else if (message.type === 'idle') {
      if (message.waitMs !== null) agenda.noteDue(message.waitMs)
      if (staffing.wasFull) agenda.tickSoon(0)
    } else {
      worker.exitReason = message.message
      if (message.code === 'POOL_EXHAUSTED') this.judgePool(worker)
    }
    agenda.ring()
  }

  /** A pooler that never had room for our workers will not have it later; one that had may find it again. */
  private judgePool({ role }: WorkerProcess): void {
    const { link, options, stopPlan } = this.parts
    if (role === link.control.role && !this.hasBeenStaffed) stopPlan.fail(poolExhausted(options.target))
  }

  private onClaimed(worker: WorkerProcess, { task, isNext }: FromWorker & { type: 'claimed' }): void {
    const { agenda, ends, options, pool, staffing } = this.parts
    ends.watch(worker, task)
    options.emit({ event: 'claimed', task, workerId: worker.id! })
    agenda.noteClaim()
    // there may be more: the next in the chain looks
    if (!isNext && !pool.wake(worker.role) && staffing.hasRoom) agenda.tickSoon(0)
  }

  private onEnded(worker: WorkerProcess, message: FromWorker & { type: 'ended' }): void {
    const { agenda, ends, log, pool } = this.parts
    ends.forget(worker)
    if (message.lines) log.keep(message.task, message.lines)
    agenda.noteWork()
    this.tell(worker, message)
    // the topic's slot that it leaves may be what another role's task waits for
    if (pool.active.some((w) => w.role !== worker.role)) agenda.tickSoon(TICK_AFTER_NOTIFY_MS)
  }

  /** It began and ended in another's transaction, before we could hear of it. */
  private onFollowed(worker: WorkerProcess, run: Followed): void {
    const { log, options } = this.parts
    options.emit({ event: 'claimed', task: run.task, workerId: worker.id! })
    if (run.lines) log.keep(run.task, run.lines)
    this.tell(worker, run)
  }

  private tell(worker: WorkerProcess, { task, ending }: Pick<Followed, 'task' | 'ending'>): void {
    const { emit } = this.parts.options
    const { state, durationMs, rows, tag, error } = ending
    const common = { task, workerId: worker.id!, durationMs }
    if (state === 'finished') emit({ event: 'finished', ...common, rows, tag })
    else if (state === 'pending' || state === 'lost') emit({ event: 'released', ...common })
    else emit({ event: state, ...common, ...(error ? { error: withoutSql(error) } : {}) })
  }

  private async register(
    worker: WorkerProcess,
    { backend }: FromWorker & { type: 'connected' },
  ): Promise<void> {
    const { agenda, link } = this.parts
    const secret = randomBytes(16).toString('hex')
    worker.backend = backend
    try {
      worker.id = await link.registerWorker(worker, backend, secret)
      worker.state = 'busy'
      worker.send({ type: 'register', workerId: worker.id, secret })
      // it died while it was entered: nobody else would take it out again
      if (worker.hasExited) this.bury(worker, 0, null, 'died before it was ready')
    } catch (error) {
      worker.exitReason = (error as Error).message
      worker.process.kill('SIGKILL')
    }
    agenda.ring()
  }

  onExit(worker: WorkerProcess, code: number | null, signal: NodeJS.Signals | null): void {
    const { agenda, ends, link, options, refused } = this.parts
    const { id, pid, role, isStopping } = worker
    ends.forget(worker)
    const reason = worker.exitReason || (signal ? `was killed by ${signal}` : `left with exit code ${code}`)
    if (code === EXIT_REFUSED && role !== link.control.role && refused.add(role)) {
      options.emit({ event: 'role_refused', role, reason })
    }
    options.emit({ event: 'worker_gone', workerId: id, pid, role, reason, isExpected: isStopping })
    if (id !== null) this.bury(worker, code, signal, reason)
    agenda.tickIn(0)
    agenda.ring()
  }

  private bury(worker: WorkerProcess, code: number | null, signal: string | null, reason: string): void {
    const { funeral, stopPlan, watchdog } = this.parts
    funeral.add(worker, code, signal, reason, stopPlan.isStopping || watchdog.isLate)
  }
}
