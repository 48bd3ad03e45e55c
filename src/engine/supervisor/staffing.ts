import { TICK_MS } from './agenda.js'
import type { WorkerPool } from './worker-pool.js'

const SURPLUS_IDLE_MS = 60_000
const MAX_SLOTS = 64

export interface StaffingOptions {
  concurrency?: number | undefined
  warm?: number | undefined
  runAs: 'login' | 'set-role'
}

/** Who works for whom: how many workers there are, for which roles, and who is woken or has to go. */
export class Staffing {
  slots = 0
  private readonly pool: WorkerPool
  private readonly options: StaffingOptions
  /** the supervisor's own role */
  private readonly ownRole: () => string
  private fullSince: number | undefined

  constructor(pool: WorkerPool, options: StaffingOptions, ownRole: () => string) {
    this.pool = pool
    this.options = options
    this.ownRole = ownRole
  }

  /** maxRunning: the queue's limit. Those above it leave, idle ones first; what runs ends before. */
  limit(maxRunning: number): void {
    this.slots = Math.min(this.options.concurrency ?? MAX_SLOTS, maxRunning, MAX_SLOTS)
    const surplus = Math.max(0, this.pool.active.length - this.slots)
    for (const worker of [...this.pool.idle, ...this.pool.busy].slice(0, surplus)) worker.stop()
  }

  get wanted(): number {
    return Math.min(this.options.warm ?? 4, this.slots)
  }

  get isWarm(): boolean {
    return this.pool.active.filter((w) => w.isReady).length >= this.wanted
  }

  get hasRoom(): boolean {
    return this.pool.workers.size < this.slots
  }

  /** No slot is free or could be made: every worker that may be there is busy. */
  get isFull(): boolean {
    return this.pool.active.length >= this.slots && this.pool.active.every((w) => w.state === 'busy')
  }

  /** For a tick or more: enqueuers need not wake us, for every worker looks by itself. To be asked once a tick. */
  wantsWake(): boolean {
    this.fullSince = this.isFull ? (this.fullSince ?? performance.now()) : undefined
    return this.fullSince === undefined || performance.now() - this.fullSince < TICK_MS / 2
  }

  /** At the last tick. */
  get wasFull(): boolean {
    return this.fullSince !== undefined
  }

  keepWarm(): void {
    for (let n = this.pool.workers.size; n < this.wanted; n++) this.start(this.ownRole())
    for (const worker of this.pool.idle.slice(this.wanted)) {
      if (performance.now() - worker.idleSince > SURPLUS_IDLE_MS) worker.stop()
    }
  }

  /** Wakes or starts a worker for a role that has due tasks; where all slots are another role's, one is freed. */
  serve(role: string): void {
    if (this.pool.wake(role) || this.pool.ofRole(role).some((w) => w.state === 'starting')) return
    if (this.hasRoom) this.start(role)
    else if (this.mustMakeRoom(role)) this.makeRoom()
  }

  /** Of one that runs nothing, idle or just looking; else of a busy one, when its task has ended. */
  private makeRoom(): void {
    const ready = this.pool.active.filter((w) => w.isReady)
    const free = this.pool.idle[0] ?? ready.find((w) => w.task === undefined)
    // one that was asked before may run for hours; another one that is free by now is the sooner slot
    if (free) free.stop()
    else if (this.pool.active.length === this.pool.workers.size) ready[0]?.stop()
  }

  /** A note that something is due does not say for whom; false: nobody was idle. */
  wakeOneOfEachRole(): boolean {
    const roles = new Set(this.pool.idle.map((w) => w.role))
    for (const role of roles) this.pool.wake(role)
    return roles.size > 0
  }

  /** Not where a slot is about to come free anyway, nor for a role whose workers could not be started now. */
  private mustMakeRoom(role: string): boolean {
    const isFreeing = [...this.pool.workers].some((w) => w.isStopping && w.task === undefined)
    return this.pool.ofRole(role).length === 0 && !isFreeing && this.pool.mayStart(role)
  }

  /** A worker that sets roles logs in as we do, whatever role is waiting. */
  private start(role: string): void {
    const login = this.options.runAs === 'set-role' ? this.ownRole() : role
    if (this.pool.mayStart(login)) this.pool.start(login)
  }
}
