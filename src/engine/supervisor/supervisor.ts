import { randomBytes } from 'node:crypto'
import { hostname } from 'node:os'
import { asRole, type ConnectionTarget, describeTarget } from '../database/target.js'
import type { Emit } from '../events.js'
import { EXIT_REFUSED, type FromWorker } from '../worker/ipc.js'
import { Control, type Tick } from './control.js'
import { EndRequests } from './end-requests.js'
import { Funeral } from './funeral.js'
import { reconnect } from './reconnect.js'
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
  emit: Emit
}

const TICK_MS = 1000
const TICK_AFTER_NOTIFY_MS = 100
const SURPLUS_IDLE_MS = 60_000
const PRUNE_EVERY_MS = 60_000
const REFUSED_FOR_MS = 60_000
const MAX_SLOTS = 64
const MAX_CONTENDED_MS = 100
/**
 * What passes by itself: https://www.postgresql.org/docs/current/errcodes-appendix.html classes of rollbacks, resources,
 * locks, intervention, system and internal errors.
 */
const PASSING_CLASSES = new Set(['40', '53', '55', '57', '58', 'XX'])
const PASSING_CODES = new Set(['SERVER_UNREACHABLE', 'NOT_INSTALLED', 'READ_ONLY'])

/**
 * Keeps workers ready and busy. Signals, messages and notifications only take notes and end the loop's pause; one
 * loop acts on what it finds.
 */
export class Supervisor {
  private readonly options: SupervisorOptions
  private readonly pool: WorkerPool
  private readonly host = hostname()
  private readonly refusedUntil = new Map<string, number>()
  private control!: Control
  private ends!: EndRequests
  private funeral!: Funeral
  private supervisorId: bigint | undefined
  private slots = 0
  /** waiting tasks may be in lanes where the settings no longer want them */
  private isMisplaced = false
  private wantedWake = false
  private contendedMs = 0
  private recoveredAt = Number.NEGATIVE_INFINITY
  private isReady = false
  private isReachable = true
  private stopRequests = 0
  private stopReason = ''
  private stopRequestedAt = 0
  private tickAt = 0
  private pruneAt = performance.now() + 2000
  private nextDueAt = Number.POSITIVE_INFINITY
  private lastWorkAt = performance.now()
  private allBusySince: number | undefined
  private endPause: (() => void) | undefined
  private isNoted = false

  constructor(options: SupervisorOptions) {
    this.options = options
    this.pool = new WorkerPool({
      onMessage: (worker, message) => this.onMessage(worker, message),
      onExit: (worker, code, signal) => this.onExit(worker, code, signal),
      targetOf: (role) => (role === this.control.role ? options.target : asRole(options.target, role)),
      setsRole: options.runAs === 'set-role',
    })
  }

  /** Runs until stopped, drained or idle. Errors: those of Control.open, and what a minute of retries did not mend. */
  async run(): Promise<void> {
    await this.attach(await Control.open(this.options.target))
    try {
      while (!this.isDone) await this.live()
    } catch (error) {
      // workers whose supervisor gives up end by themselves; killed, they end now
      for (const worker of this.pool.workers) worker.kill()
      await this.control.close()
      throw error
    }
    await this.leave()
  }

  private async live(): Promise<void> {
    try {
      await this.round()
    } catch (error) {
      if (!(await this.isDatabaseLost(error as Error))) throw error
      await this.recover(error as Error)
    }
    await this.pause()
  }

  /** First call: let running tasks end, then release them. Second: release them now. */
  stop(reason: string): void {
    if (!this.isStopping) this.stopRequestedAt = performance.now()
    this.stopRequests++
    this.stopReason ||= reason
    this.note()
  }

  private get isStopping(): boolean {
    return this.stopRequests > 0
  }

  private get isDone(): boolean {
    return (
      this.isStopping &&
      this.pool.workers.size === 0 &&
      (this.funeral.isEmpty || this.control.database.lost !== undefined)
    )
  }

  private get refusedRoles(): string[] {
    const now = performance.now()
    return [...this.refusedUntil].filter(([, until]) => until > now).map(([role]) => role)
  }

  private async attach(control: Control): Promise<void> {
    this.control = control
    this.funeral = new Funeral(control, this.options.emit, this.funeral)
    this.ends = new EndRequests(control, this.ends)
    control.database.onNotification((payload) => this.onNotification(payload))
    control.database.onNotice((notice) => this.options.emit({ event: 'warning', message: notice.message }))
    control.database.onLost(() => this.note())
    await this.enter()
  }

  /** Enters the registry, and takes over the workers of an entry before. */
  private async enter(): Promise<void> {
    const { version, lanes, concurrency } = this.options
    this.supervisorId = await this.control.register(
      { host: this.host, version, lanes, concurrency: concurrency ?? 0 },
      this.supervisorId,
    )
    this.isMisplaced = true
    this.tickAt = 0
  }

  private async renewControl(): Promise<void> {
    const old = this.control
    await this.attach(await Control.open(this.options.target))
    await old.close()
  }

  private moveSoon(): void {
    this.isMisplaced = true
    this.tickAt = performance.now() + TICK_AFTER_NOTIFY_MS
  }

  private async round(): Promise<void> {
    if (this.control.database.lost) throw this.control.database.lost
    await this.funeral.hold()
    await this.ends.enforce(this.pool.busy)
    if (this.isStopping) return this.stopRound()
    if (performance.now() >= this.tickAt) await this.tick()
    this.keepWarm()
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
    const tick = await this.control.tick(wantsWake, this.refusedRoles)
    if (!tick.is_registered) return this.enter()
    if (this.control.hasStaleSettings(tick)) return this.renewControl()
    if (tick.settings_changed || this.isMisplaced) this.moveSoon()
    // an enqueue that committed beside this tick may still have read that no wake was wanted
    if (wantsWake && !this.wantedWake) this.tickAt = performance.now() + TICK_AFTER_NOTIFY_MS
    this.wantedWake = wantsWake
    this.slots = Math.min(this.options.concurrency ?? MAX_SLOTS, tick.max_running, MAX_SLOTS)
    this.nextDueAt =
      tick.next_due_ms === null ? Number.POSITIVE_INFINITY : performance.now() + tick.next_due_ms
    if (tick.rescued.length > 0) {
      this.options.emit({
        event: 'rescued',
        taskIds: tick.rescued,
        reason: 'their supervisor or host was gone',
      })
    }
    this.shrink()
    for (const role of tick.due_roles) this.serve(role)
    await this.cancel(tick)
  }

  /** Wakes or starts a worker for a role that has due tasks; where all slots are another role's, one is freed. */
  private serve(role: string): void {
    if (this.pool.wake(role) || this.pool.ofRole(role).some((w) => w.state === 'starting')) return
    if (this.pool.workers.size < this.slots) {
      this.startWorker(role)
    } else if (this.mustMakeRoom(role)) {
      const [surplus] = [...this.pool.idle, ...this.pool.active.filter((w) => w.isReady)]
      surplus?.stop()
    }
  }

  /** Not where a slot is about to come free anyway, nor for a role whose workers could not be started now. */
  private mustMakeRoom(role: string): boolean {
    const isFreeing = this.pool.active.length < this.pool.workers.size
    return this.pool.ofRole(role).length === 0 && !isFreeing && this.pool.mayStart(role)
  }

  /** A worker that sets roles logs in as we do, whatever role is waiting. */
  private startWorker(role: string): void {
    const login = this.options.runAs === 'set-role' ? this.control.role : role
    if (this.pool.mayStart(login)) this.pool.start(login)
  }

  private keepWarm(): void {
    const wanted = Math.min(this.options.warm ?? 4, this.slots)
    for (let n = this.pool.workers.size; n < wanted; n++) this.startWorker(this.control.role)
    for (const worker of this.pool.idle.slice(wanted)) {
      if (performance.now() - worker.idleSince > SURPLUS_IDLE_MS) worker.stop()
    }
    if (!this.isReady && this.pool.active.filter((w) => w.isReady).length >= wanted) {
      this.isReady = true
      this.options.emit({
        event: 'ready',
        supervisorId: this.control.supervisorId,
        slots: this.slots,
        warm: wanted,
        database: describeTarget(this.options.target),
      })
    }
  }

  private shrink(): void {
    const surplus = this.pool.active.length - this.slots
    if (surplus <= 0) return
    for (const worker of [...this.pool.idle, ...this.pool.busy].slice(0, surplus)) worker.stop()
  }

  private async cancel(tick: Tick): Promise<void> {
    for (const { taskId, workerId, by } of tick.cancels) {
      const worker = this.pool.byId(BigInt(workerId))
      if (worker) await this.ends.request(worker, BigInt(taskId), null, 'cancel', by)
    }
  }

  /** Busy for a tick or more: enqueuers need not wake us, for every worker looks by itself. */
  private wantsWake(): boolean {
    const isFull = this.pool.active.length >= this.slots && this.pool.active.every((w) => w.state === 'busy')
    this.allBusySince = isFull ? (this.allBusySince ?? performance.now()) : undefined
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
    if (isDraining && !(await this.control.hasWork(this.refusedRoles, lanes))) {
      if (this.pool.idle.length !== this.pool.active.length) return
      for (const left of await this.control.leftBehind(this.refusedRoles, lanes)) {
        this.options.emit({ event: 'left', ...left })
      }
      this.stop('drained')
    } else if (idleTimeoutMs !== undefined && performance.now() - this.lastWorkAt > idleTimeoutMs) {
      this.stop('idle')
    }
  }

  private stopAt: number | undefined

  private async stopRound(): Promise<void> {
    const now = performance.now()
    if (this.stopAt === undefined) {
      this.stopAt = this.deadline
      this.options.emit({ event: 'stopping', reason: this.stopReason })
      for (const worker of this.pool.workers) worker.stop()
    }
    if (this.stopRequests > 1) this.stopAt = Math.min(this.stopAt, now)
    if (now < this.stopAt) return
    for (const worker of this.pool.workers) {
      if (worker.task)
        await this.ends.request(worker, worker.task.id, worker.task.token, 'release', this.control.role)
      else if (now > this.stopAt + 1000) worker.kill()
    }
  }

  private async leave(): Promise<void> {
    if (!this.control.database.lost) await this.control.deregister().catch(() => undefined)
    await this.control.close()
    this.options.emit({ event: 'stopped' })
  }

  private async isDatabaseLost(error: Error): Promise<boolean> {
    if (this.control.database.lost) return true
    // a server that shuts down answers once more before it closes the connection; a queue that is gone does not come back
    const { code = '' } = error as { code?: string }
    if (!PASSING_CODES.has(code) && !PASSING_CLASSES.has(code.slice(0, 2))) return false
    await this.control.close()
    return true
  }

  private async recover(error: Error): Promise<void> {
    if (this.isReachable) this.options.emit({ event: 'database_lost', reason: error.message })
    this.isReachable = false
    this.funeral.distrust()
    for (const worker of this.pool.workers) worker.isDoubted = true
    const delayMs = performance.now() - this.recoveredAt < TICK_MS ? TICK_MS : 0
    const control = await reconnect(this.options.target, () => this.isPointless, delayMs)
    this.recoveredAt = performance.now()
    if (!control) {
      for (const worker of this.pool.workers) worker.kill()
      return
    }
    try {
      await this.attach(control)
    } catch (failure) {
      // lost again at once: the next round finds it so
      if (await this.isDatabaseLost(failure as Error)) return
      throw failure
    }
    this.funeral.distrust()
    this.isReachable = true
    this.options.emit({ event: 'database_back' })
  }

  /** Nothing is left to do with a connection: we stop, and no task runs that could still end well. */
  private get isPointless(): boolean {
    if (!this.isStopping) return false
    return this.stopRequests > 1 || this.pool.busy.length === 0 || performance.now() > this.deadline
  }

  private get deadline(): number {
    return this.stopRequestedAt + this.options.shutdownTimeoutMs
  }

  private onNotification(payload: string): void {
    if (payload === 'settings') this.isMisplaced = true
    const isUrgent = payload !== 'due' || !this.wakeOneOfEachRole()
    const isGrowing = this.pool.active.length < this.slots
    if (isUrgent || isGrowing) this.tickSoon(payload === 'due' ? TICK_AFTER_NOTIFY_MS : 0)
  }

  private wakeOneOfEachRole(): boolean {
    const roles = new Set(this.pool.idle.map((w) => w.role))
    for (const role of roles) this.pool.wake(role)
    return roles.size > 0
  }

  private tickSoon(delayMs: number): void {
    this.tickAt = Math.min(this.tickAt, Math.max(performance.now(), this.tickAt - TICK_MS + delayMs))
    this.note()
  }

  private onMessage(worker: WorkerProcess, message: FromWorker): void {
    const { emit } = this.options
    if (message.type === 'connected') {
      void this.register(worker, message)
    } else if (message.type === 'ready') {
      emit({ event: 'worker_started', workerId: worker.id!, pid: worker.pid, role: worker.role })
    } else if (message.type === 'claimed') {
      this.ends.watch(worker, message.task)
      emit({ event: 'claimed', task: message.task, workerId: worker.id! })
      this.contendedMs = 0
      // there may be more: the next in the chain looks
      if (!this.pool.wake(worker.role) && this.pool.workers.size < this.slots) this.tickSoon(0)
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
    }
    this.note()
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
    else this.options.emit({ event: state, ...common, ...(error ? { error } : {}) })
  }

  private async register(
    worker: WorkerProcess,
    { backend }: FromWorker & { type: 'connected' },
  ): Promise<void> {
    const secret = randomBytes(16).toString('hex')
    worker.backend = backend
    try {
      const setsRole = this.options.runAs === 'set-role'
      worker.id = await this.control.registerWorker(
        this.host,
        worker.pid,
        worker.role,
        setsRole,
        backend,
        secret,
      )
      worker.state = 'busy'
      worker.send({ type: 'register', workerId: worker.id, secret })
      // it died while it was entered: nobody else would take it out again
      if (worker.hasExited) this.funeral.add(worker, 0, null, 'died before it was ready', this.isStopping)
    } catch (error) {
      worker.exitReason = (error as Error).message
      worker.process.kill('SIGKILL')
    }
    this.note()
  }

  private onExit(worker: WorkerProcess, code: number | null, signal: NodeJS.Signals | null): void {
    this.ends.forget(worker)
    const reason = signal ? `was killed by ${signal}` : worker.exitReason || `left with exit code ${code}`
    if (code === EXIT_REFUSED && worker.role !== this.control.role) this.refuse(worker.role, reason)
    this.options.emit({
      event: 'worker_gone',
      workerId: worker.id,
      pid: worker.pid,
      role: worker.role,
      reason,
      isExpected: worker.isStopping,
    })
    if (worker.id !== null) this.funeral.add(worker, code, signal, reason, this.isStopping)
    this.tickAt = 0
    this.note()
  }

  private refuse(role: string, reason: string): void {
    if (!this.refusedRoles.includes(role)) this.options.emit({ event: 'role_refused', role, reason })
    this.refusedUntil.set(role, performance.now() + REFUSED_FOR_MS)
  }

  private note(): void {
    this.isNoted = true
    this.endPause?.()
  }

  private nextStopAt(now: number): number {
    if (this.stopAt === undefined) return now
    return this.stopAt > now ? Math.min(this.stopAt, now + 200) : now + 200
  }

  /** Until a note, the next tick, the next due task, or the next deadline. */
  private async pause(): Promise<void> {
    const now = performance.now()
    const until = Math.min(
      this.isStopping ? this.nextStopAt(now) : Math.min(this.tickAt, this.nextDueAt, this.pool.nextStartAt),
      this.funeral.nextAt,
      this.ends.nextAt,
      now + TICK_MS,
    )
    if (!this.isNoted) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, Math.max(1, until - now))
        this.endPause = () => {
          clearTimeout(timer)
          resolve()
        }
      })
      this.endPause = undefined
    }
    this.isNoted = false
    if (performance.now() >= this.nextDueAt) {
      this.nextDueAt = Number.POSITIVE_INFINITY
      if (!this.wakeOneOfEachRole()) this.tickSoon(0)
    }
  }
}
