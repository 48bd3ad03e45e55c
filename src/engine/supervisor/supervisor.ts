import { randomBytes } from 'node:crypto'
import { hostname } from 'node:os'
import { poolExhausted } from '../database/pooler.js'
import { asRole, type ConnectionTarget, describeTarget } from '../database/target.js'
import { type Emit, withoutSql } from '../events.js'
import { EXIT_REFUSED, type FromWorker, type RunningTask } from '../worker/ipc.js'
import { Bell } from './bell.js'
import type { Control, Tick } from './control.js'
import { EndRequests } from './end-requests.js'
import { Funeral } from './funeral.js'
import { Link } from './link.js'
import { RefusedRoles } from './refused-roles.js'
import { Staffing } from './staffing.js'
import { StopPlan } from './stop-plan.js'
import { WorkerPool } from './worker-pool.js'
import type { WorkerProcess } from './worker-process.js'

export interface SupervisorOptions {
  target: ConnectionTarget
  version: string
  /** slots of this host, 1 to 64; default: what the queue's global limit allows */
  concurrency?: number | undefined
  /** processes kept ready; default: all slots, at most 4 */
  warm?: number | undefined
  /** lanes to serve, null for all */
  lanes: string[] | null
  isDraining: boolean
  /** leave after that long without work; undefined: stay */
  idleTimeoutMs?: number | undefined
  shutdownTimeoutMs: number
  runAs: 'login' | 'set-role'
  /** the embedded server, whose one role is a superuser: nothing to warn of */
  isPrivateServer?: boolean
  emit: Emit
}

const TICK_MS = 1000
const TICK_AFTER_NOTIFY_MS = 100
const PRUNE_EVERY_MS = 60_000
const MAX_CONTENDED_MS = 100
/**
 * Keeps workers ready and busy. Signals, messages and notifications only take notes and end the loop's pause; one
 * loop acts on what it finds.
 */
export class Supervisor {
  private readonly options: SupervisorOptions
  private readonly pool: WorkerPool
  private readonly host = hostname()
  private readonly staffing: Staffing
  private readonly refused = new RefusedRoles()
  private readonly bell = new Bell()
  private readonly stopPlan: StopPlan
  private readonly link: Link
  private ends!: EndRequests
  private funeral!: Funeral
  /** waiting tasks may be in lanes where the settings no longer want them */
  private isMisplaced = false
  private wantedWake = false
  private contendedMs = 0
  private isReady = false
  /** all workers that are kept ready have been so once */
  private hasBeenStaffed = false
  /** why we stop, where that is an error */
  private failure: Error | undefined
  private tickAt = 0
  private pruneAt = performance.now() + 2000
  private nextDueAt = Number.POSITIVE_INFINITY
  private lastWorkAt = performance.now()
  private allBusySince: number | undefined

  constructor(options: SupervisorOptions) {
    this.options = options
    this.pool = new WorkerPool({
      onMessage: (worker, message) => this.onMessage(worker, message),
      onExit: (worker, code, signal) => this.onExit(worker, code, signal),
      targetOf: (role) => (role === this.control.role ? options.target : asRole(options.target, role)),
      setsRole: this.setsRole,
    })
    const { concurrency, warm } = options
    this.staffing = new Staffing(
      this.pool,
      { concurrency, warm, setsRole: this.setsRole },
      () => this.control.role,
    )
    this.stopPlan = new StopPlan(options.shutdownTimeoutMs)
    const { target, version, lanes, emit } = options
    this.link = new Link(
      target,
      { host: this.host, version, lanes, concurrency: concurrency ?? 0 },
      {
        emit,
        onAttach: (control) => this.attach(control),
        onNotification: (payload) => this.onNotification(payload),
        onLost: () => this.bell.ring(),
      },
    )
  }

  private get control(): Control {
    return this.link.control
  }

  private get setsRole(): boolean {
    return this.options.runAs === 'set-role'
  }

  /**
   * Runs until stopped, drained or idle. Errors: those of Control.open, POOL_EXHAUSTED, and what a minute of retries
   * did not mend.
   */
  async run(): Promise<void> {
    await this.link.open()
    for (const message of await this.control.warnings(this.options.isPrivateServer ?? false)) {
      this.options.emit({ event: 'warning', message })
    }
    try {
      while (!this.isDone) await this.live()
    } catch (error) {
      // workers whose supervisor gives up end by themselves; killed, they end now
      for (const worker of this.pool.workers) worker.kill()
      await this.control.close()
      throw error
    }
    await this.leave()
    if (this.failure) throw this.failure
  }

  private async live(): Promise<void> {
    try {
      await this.round()
    } catch (error) {
      if (!(await this.link.isLost(error as Error))) throw error
      await this.recover(error as Error)
    }
    await this.pause()
  }

  /** First call: let running tasks end, then release them. Second: release them now. */
  stop(reason: string): void {
    this.stopPlan.request(reason)
    this.bell.ring()
  }

  private get isDone(): boolean {
    return (
      this.stopPlan.isStopping &&
      this.pool.workers.size === 0 &&
      (this.funeral.isEmpty || this.control.database.lost !== undefined)
    )
  }

  /** A new connection: what runs and who died outlive the one before. */
  private attach(control: Control): void {
    this.funeral = new Funeral(control, this.options.emit, this.funeral)
    this.ends = new EndRequests(control, this.ends)
    this.isMisplaced = true
    this.tickAt = 0
  }

  private moveSoon(): void {
    this.isMisplaced = true
    this.tickAt = performance.now() + TICK_AFTER_NOTIFY_MS
  }

  private async round(): Promise<void> {
    if (this.control.database.lost) throw this.control.database.lost
    await this.funeral.hold()
    await this.ends.enforce(this.pool.busy)
    if (this.stopPlan.isStopping) return this.stopRound()
    if (performance.now() >= this.tickAt) await this.tick()
    this.staffing.keepWarm()
    this.announce()
    await this.prune()
    await this.considerLeaving()
  }

  private async tick(): Promise<void> {
    this.tickAt = performance.now() + TICK_MS
    if (this.isMisplaced) {
      this.isMisplaced = false
      if (!(await this.control.relane())) this.isMisplaced = true
    }
    const wantsWake = this.wantsWake()
    const tick = await this.control.tick(wantsWake, this.refused.names)
    if (!tick.is_registered) {
      this.tickAt = 0
      return this.link.enter()
    }
    if (this.control.hasStaleSettings(tick)) return this.link.renew()
    if (tick.settings_changed || this.isMisplaced) this.moveSoon()
    // an enqueue that committed beside this tick may still have read that no wake was wanted
    if (wantsWake && !this.wantedWake) this.tickAt = performance.now() + TICK_AFTER_NOTIFY_MS
    this.wantedWake = wantsWake
    this.staffing.limit(tick.max_running)
    this.nextDueAt =
      tick.next_due_ms === null ? Number.POSITIVE_INFINITY : performance.now() + tick.next_due_ms
    if (tick.rescued.length > 0) {
      this.options.emit({
        event: 'rescued',
        taskIds: tick.rescued,
        reason: 'their supervisor or host was gone',
      })
    }
    for (const role of tick.due_roles) this.staffing.serve(role)
    await this.cancel(tick)
  }

  /** Once: that the warm workers are connected and clean. */
  private announce(): void {
    if (this.isReady || !this.staffing.isWarm) return
    this.isReady = true
    this.options.emit({
      event: 'ready',
      supervisorId: this.control.supervisorId,
      slots: this.staffing.slots,
      warm: this.staffing.wanted,
      database: describeTarget(this.options.target),
    })
  }

  private async cancel(tick: Tick): Promise<void> {
    for (const { taskId, workerId, by } of tick.cancels) {
      const worker = this.pool.byId(BigInt(workerId))
      if (worker) await this.ends.request(worker, BigInt(taskId), null, 'cancel', by)
    }
  }

  /** Busy for a tick or more: enqueuers need not wake us, for every worker looks by itself. */
  private wantsWake(): boolean {
    this.allBusySince = this.staffing.isFull ? (this.allBusySince ?? performance.now()) : undefined
    return this.allBusySince === undefined || performance.now() - this.allBusySince < TICK_MS / 2
  }

  private async prune(): Promise<void> {
    if (performance.now() < this.pruneAt) return
    const pruned = await this.control.prune()
    this.pruneAt = performance.now() + (pruned >= 1000 ? 100 : PRUNE_EVERY_MS)
  }

  private async considerLeaving(): Promise<void> {
    if (this.pool.busy.length > 0) this.lastWorkAt = performance.now()
    const isQuiet = this.isReady && this.pool.idle.length === this.pool.active.length && this.funeral.isEmpty
    if (!isQuiet) return
    const { idleTimeoutMs, isDraining, lanes } = this.options
    if (isDraining && !(await this.control.hasWork(this.refused.names, lanes))) {
      if (this.pool.idle.length !== this.pool.active.length) return
      for (const left of await this.control.leftBehind(this.refused.names, lanes)) {
        this.options.emit({ event: 'left', ...left })
      }
      this.stop('drained')
    } else if (idleTimeoutMs !== undefined && performance.now() - this.lastWorkAt > idleTimeoutMs) {
      this.stop('idle')
    }
  }

  private async stopRound(): Promise<void> {
    if (!this.stopPlan.isAnnounced) {
      this.stopPlan.isAnnounced = true
      this.options.emit({ event: 'stopping', reason: this.stopPlan.reason })
      for (const worker of this.pool.workers) worker.stop()
    }
    if (!this.stopPlan.isOverdue) return
    for (const worker of this.pool.workers) {
      if (worker.task) await this.release(worker, worker.task)
      else if (this.stopPlan.isLongOverdue) worker.kill()
    }
  }

  private release(worker: WorkerProcess, task: RunningTask): Promise<void> {
    return this.ends.request(worker, task.id, task.token, 'release', this.control.role)
  }

  private async leave(): Promise<void> {
    if (!this.control.database.lost) await this.control.deregister().catch(() => undefined)
    await this.control.close()
    this.options.emit({ event: 'stopped' })
  }

  private async recover(error: Error): Promise<void> {
    this.funeral.distrust()
    for (const worker of this.pool.workers) worker.isDoubted = true
    const isConnected = await this.link.recover(error, () => this.isPointless)
    if (!isConnected) for (const worker of this.pool.workers) worker.kill()
    this.funeral.distrust()
  }

  /** Nothing is left to do with a connection: we stop, and no task runs that could still end well. */
  private get isPointless(): boolean {
    return this.stopPlan.isStopping && (this.stopPlan.isOverdue || this.pool.busy.length === 0)
  }

  private onNotification(payload: string): void {
    if (payload === 'settings') this.isMisplaced = true
    const isUrgent = payload !== 'due' || !this.staffing.wakeOneOfEachRole()
    const isGrowing = this.pool.active.length < this.staffing.slots
    if (isUrgent || isGrowing) this.tickSoon(payload === 'due' ? TICK_AFTER_NOTIFY_MS : 0)
  }

  private tickSoon(delayMs: number): void {
    this.tickAt = Math.min(this.tickAt, Math.max(performance.now(), this.tickAt - TICK_MS + delayMs))
    this.bell.ring()
  }

  private onMessage(worker: WorkerProcess, message: FromWorker): void {
    const { emit } = this.options
    if (message.type === 'connected') {
      void this.register(worker, message)
    } else if (message.type === 'ready') {
      this.hasBeenStaffed ||= this.staffing.isWarm
      emit({ event: 'worker_started', workerId: worker.id!, pid: worker.pid, role: worker.role })
    } else if (message.type === 'claimed') {
      this.ends.watch(worker, message.task)
      emit({ event: 'claimed', task: message.task, workerId: worker.id! })
      this.contendedMs = 0
      // there may be more: the next in the chain looks
      if (!this.pool.wake(worker.role) && this.staffing.hasRoom) this.tickSoon(0)
    } else if (message.type === 'ended') {
      this.ends.forget(worker)
      this.lastWorkAt = performance.now()
      this.tell(worker, message)
      // the topic's slot that it leaves may be what another role's task waits for
      if (this.pool.active.some((w) => w.role !== worker.role)) this.tickSoon(TICK_AFTER_NOTIFY_MS)
    } else if (message.type === 'idle') {
      if (message.waitMs !== null)
        this.nextDueAt = Math.min(this.nextDueAt, performance.now() + this.patience(message.waitMs))
      if (this.allBusySince !== undefined) this.tickSoon(0)
    } else {
      worker.exitReason = message.message
      if (message.code === 'POOL_EXHAUSTED' && worker.role === this.control.role) this.judgePool()
    }
    this.bell.ring()
  }

  /** A pooler that never had room for our workers will not have it later; one that had may find it again. */
  private judgePool(): void {
    if (this.hasBeenStaffed || this.failure) return
    this.failure = poolExhausted(this.options.target)
    this.stop('pool exhausted')
  }

  /** 0: a task is due but somebody holds it, mostly for a moment, but a session may hold its row for hours. */
  private patience(waitMs: number): number {
    if (waitMs > 0) return waitMs
    this.contendedMs = Math.min(this.contendedMs * 2 + 1, MAX_CONTENDED_MS)
    return this.contendedMs
  }

  private tell(worker: WorkerProcess, { task, ending }: FromWorker & { type: 'ended' }): void {
    const { state, durationMs, rows, tag, error } = ending
    const common = { task, workerId: worker.id!, durationMs }
    if (state === 'finished') this.options.emit({ event: 'finished', ...common, rows, tag })
    else if (state === 'pending' || state === 'lost') this.options.emit({ event: 'released', ...common })
    else this.options.emit({ event: state, ...common, ...(error ? { error: withoutSql(error) } : {}) })
  }

  private async register(
    worker: WorkerProcess,
    { backend }: FromWorker & { type: 'connected' },
  ): Promise<void> {
    const secret = randomBytes(16).toString('hex')
    worker.backend = backend
    try {
      worker.id = await this.control.registerWorker(
        this.host,
        worker.pid,
        worker.role,
        this.setsRole,
        backend,
        secret,
      )
      worker.state = 'busy'
      worker.send({ type: 'register', workerId: worker.id, secret })
      // it died while it was entered: nobody else would take it out again
      if (worker.hasExited)
        this.funeral.add(worker, 0, null, 'died before it was ready', this.stopPlan.isStopping)
    } catch (error) {
      worker.exitReason = (error as Error).message
      worker.process.kill('SIGKILL')
    }
    this.bell.ring()
  }

  private onExit(worker: WorkerProcess, code: number | null, signal: NodeJS.Signals | null): void {
    this.ends.forget(worker)
    const reason = signal ? `was killed by ${signal}` : worker.exitReason || `left with exit code ${code}`
    if (code === EXIT_REFUSED && worker.role !== this.control.role && this.refused.add(worker.role)) {
      this.options.emit({ event: 'role_refused', role: worker.role, reason })
    }
    this.options.emit({
      event: 'worker_gone',
      workerId: worker.id,
      pid: worker.pid,
      role: worker.role,
      reason,
      isExpected: worker.isStopping,
    })
    if (worker.id !== null) this.funeral.add(worker, code, signal, reason, this.stopPlan.isStopping)
    this.tickAt = 0
    this.bell.ring()
  }

  /** Until a note, the next tick, the next due task, or the next deadline. */
  private async pause(): Promise<void> {
    await this.bell.pause(
      Math.min(
        this.stopPlan.isStopping
          ? this.stopPlan.nextAt
          : Math.min(this.tickAt, this.nextDueAt, this.pool.nextStartAt),
        this.funeral.nextAt,
        this.ends.nextAt,
        performance.now() + TICK_MS,
      ),
    )
    if (performance.now() >= this.nextDueAt) {
      this.nextDueAt = Number.POSITIVE_INFINITY
      if (!this.staffing.wakeOneOfEachRole()) this.tickSoon(0)
    }
  }
}
