import { isPassing } from '../database/passing.js'
import { type ConnectionTarget, describeTarget } from '../database/target.js'
import type { Emit } from '../events.js'
import type { Backend } from '../worker/ipc.js'
import { Control, type Registration } from './control.js'
import { reconnect } from './reconnect.js'
import type { WorkerProcess } from './worker-process.js'

/** A connection that is lost so soon again is not tried at once. */
const BREATHER_MS = 1000

export interface LinkHooks {
  emit: Emit
  /** before it is registered */
  onAttach(): void
  onNotification(payload: string): void
  onLost(): void
}

/** The supervisor's connection and its entry in the registry, through losses and renewals. */
export class Link {
  control!: Control
  private readonly target: ConnectionTarget
  private readonly registration: Registration
  private readonly setsRole: boolean
  private readonly hooks: LinkHooks
  private supervisorId: bigint | undefined
  private isReachable = true
  private recoveredAt = Number.NEGATIVE_INFINITY

  constructor(target: ConnectionTarget, registration: Registration, setsRole: boolean, hooks: LinkHooks) {
    this.target = target
    this.registration = registration
    this.setsRole = setsRole
    this.hooks = hooks
  }

  /** Errors: those of Control.open. */
  async open(): Promise<void> {
    await this.attach(await Control.open(this.target, { isFirst: true }))
  }

  /** A new session instead of the one that cannot see some setting any more. */
  async renew(): Promise<void> {
    const old = this.control
    await this.attach(await Control.open(this.target))
    await old.close()
  }

  /** Enters the registry, and takes over the workers of an entry before. */
  async enter(): Promise<void> {
    this.supervisorId = await this.control.register(this.registration, this.supervisorId)
  }

  /** A worker counts, and may claim, from here on. */
  registerWorker({ pid, role }: WorkerProcess, backend: Backend, secret: string): Promise<bigint> {
    return this.control.registerWorker(this.registration.host, pid, role, this.setsRole, backend, secret)
  }

  /** Whether an error means that the connection is gone, or of no use; then it is closed. */
  async isLost(error: Error): Promise<boolean> {
    if (this.control.database.lost) return true
    // a server that shuts down answers once more before it closes the connection; a queue that is gone does not come back
    const isStandby = (error as { code?: string }).code === 'READ_ONLY'
    if (!isPassing(error) && !isStandby) return false
    await this.control.close()
    return true
  }

  /** Connects again for as long as it takes; false once `isPointless`. */
  async recover(error: Error, isPointless: () => boolean): Promise<boolean> {
    if (this.isReachable) this.hooks.emit({ event: 'database_lost', reason: error.message })
    this.isReachable = false
    const delayMs = performance.now() - this.recoveredAt < BREATHER_MS ? BREATHER_MS : 0
    const control = await reconnect(this.target, isPointless, delayMs)
    this.recoveredAt = performance.now()
    if (!control) return false
    try {
      await this.attach(control)
    } catch (failure) {
      // lost again at once: the next round finds it so
      if (await this.isLost(failure as Error)) return true
      throw failure
    }
    this.isReachable = true
    this.hooks.emit({ event: 'database_back', database: describeTarget(control.target) })
    return true
  }

  private async attach(control: Control): Promise<void> {
    this.control = control
    this.hooks.onAttach()
    control.database.onNotification((payload) => this.hooks.onNotification(payload))
    control.database.onNotice((notice) => this.hooks.emit({ event: 'warning', message: notice.message }))
    control.database.onLost(() => this.hooks.onLost())
    await this.enter()
  }
}
