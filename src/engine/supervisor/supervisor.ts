import { hostname } from 'node:os'
import { asRole, describeTarget } from '../database/target.js'
import { NewerSchemaError } from '../installed.js'
import { Agenda, TICK_AFTER_NOTIFY_MS } from './agenda.js'
import { EndRequests } from './end-requests.js'
import { Funeral } from './funeral.js'
import { Housekeeping } from './housekeeping.js'
import { Leaving } from './leaving.js'
import { Link } from './link.js'
import { LogKeeper } from './log-keeper.js'
import type { SupervisorOptions } from './options.js'
import type { Parts } from './parts.js'
import { RefusedRoles } from './refused-roles.js'
import { Reports } from './reports.js'
import { Rush } from './rush.js'
import { Staffing } from './staffing.js'
import { StopPlan } from './stop-plan.js'
import { superseded } from './superseded.js'
import { Watchdog } from './watchdog.js'
import { WorkerPool } from './worker-pool.js'

/**
 * Keeps workers ready and busy. Signals, messages and notifications only take notes and end the loop's pause; one
 * loop acts on what it finds.
 */
export class Supervisor {
  private readonly parts: Parts
  private readonly reports: Reports
  private readonly housekeeping: Housekeeping
  private readonly leaving: Leaving
  private isReady = false

  constructor(options: SupervisorOptions) {
    const link = this.makeLink(options)
    const pool = this.makePool(options, link)
    this.parts = {
      options,
      link,
      pool,
      staffing: new Staffing(pool, options, () => link.control.role),
      refused: new RefusedRoles(),
      agenda: new Agenda(),
      rush: new Rush(),
      stopPlan: new StopPlan(options.shutdownTimeoutMs),
      ends: new EndRequests(link),
      funeral: new Funeral(link, options.emit),
      watchdog: new Watchdog(pool.workers, () => this.onLate()),
      log: new LogKeeper(() => link.control.target, options.emit),
    }
    this.reports = new Reports(this.parts)
    this.housekeeping = new Housekeeping(this.parts)
    this.leaving = new Leaving(this.parts)
  }

  private makeLink(options: SupervisorOptions): Link {
    const { target, version, lanes, concurrency = 0, emit } = options
    const registration = { host: hostname(), version, lanes, concurrency }
    return new Link(target, registration, options.runAs === 'set-role', {
      emit,
      onAttach: () => this.onAttach(),
      onNotification: (payload) => this.onNotification(payload),
      onLost: () => this.parts.agenda.ring(),
    })
  }

  /** Workers connect to the very server that the control connection has found, in a list of several too. */
  private makePool({ runAs }: SupervisorOptions, link: Link): WorkerPool {
    return new WorkerPool({
      onMessage: (worker, message) => this.reports.onMessage(worker, message),
      onExit: (worker, code, signal) => this.reports.onExit(worker, code, signal),
      targetOf: (role) =>
        role === link.control.role ? link.control.target : asRole(link.control.target, role),
      setsRole: runAs === 'set-role',
    })
  }

  /**
   * Runs until stopped, drained or idle. Errors: those of Control.open, NEWER_SCHEMA, POOL_EXHAUSTED, and what a minute
   * of retries did not mend.
   */
  async run(): Promise<void> {
    const { link, log, options, pool, stopPlan, watchdog } = this.parts
    await link.open()
    for (const message of await link.control.warnings(options.isPrivateServer ?? false))
      options.emit({ event: 'warning', message })
    watchdog.start()
    try {
      while (!this.isDone) await this.live()
    } catch (error) {
      // workers whose supervisor gives up end by themselves; killed, they end now
      for (const worker of pool.workers) worker.kill()
      await link.control.close()
      throw error
    } finally {
      watchdog.stop()
      await log.close()
    }
    await this.leave()
    if (stopPlan.exitError) throw stopPlan.exitError
  }

  /** First call: let running tasks end, then release them. Second: release them now. */
  stop(reason: string): void {
    this.parts.stopPlan.request(reason)
    this.parts.agenda.ring()
  }

  private get isDone(): boolean {
    const { funeral, link, pool, stopPlan } = this.parts
    return (
      stopPlan.isStopping &&
      pool.workers.size === 0 &&
      (funeral.isEmpty || link.control.database.lost !== undefined)
    )
  }

  private async live(): Promise<void> {
    try {
      await this.round()
    } catch (error) {
      await this.survive(error as Error)
    }
    await this.pause()
  }

  private async survive(error: Error): Promise<void> {
    const { link, stopPlan } = this.parts
    // the functions that we know may be gone; our workers need them no more than we do
    if (stopPlan.failure) return link.control.close()
    const { control } = link
    const failure = control.database.lost ? undefined : superseded(await control.schemaVersion())
    if (failure) return stopPlan.fail(failure)
    if (!(await link.isLost(error))) throw error
    await this.recover(error)
  }

  private async round(): Promise<void> {
    const { agenda, ends, funeral, link, pool, staffing, stopPlan } = this.parts
    if (this.isAlone) return this.leaving.roundAlone()
    if (link.control.database.lost) throw link.control.database.lost
    await funeral.hold()
    await ends.enforce(pool.busy)
    if (stopPlan.isStopping) {
      await this.leaving.round()
      if (agenda.isTickDue) await this.housekeeping.tickWhileStopping()
      return
    }
    if (agenda.isTickDue) await this.housekeeping.tick()
    staffing.keepWarm()
    this.announce()
    await this.housekeeping.pruneOn()
    if (this.isReady) await this.leaving.consider()
  }

  /** We stop without a connection, for it would be of no use. */
  private get isAlone(): boolean {
    return this.parts.stopPlan.failure !== undefined && this.parts.link.control.database.lost !== undefined
  }

  /** Once: that the warm workers are connected and clean. */
  private announce(): void {
    const { link, options, staffing } = this.parts
    if (this.isReady || !staffing.isWarm) return
    this.isReady = true
    options.emit({
      event: 'ready',
      supervisorId: link.control.supervisorId,
      slots: staffing.slots,
      warm: staffing.wanted,
      database: describeTarget(link.control.target),
    })
  }

  /** Until a note, the next tick, the next due task, or the next deadline. */
  private async pause(): Promise<void> {
    const { agenda, ends, funeral, pool, rush, staffing, stopPlan } = this.parts
    const lookAt = pool.idle.length > 0 ? rush.nextLookAt : Number.POSITIVE_INFINITY
    const next = stopPlan.isStopping ? stopPlan.nextAt : Math.min(agenda.nextAt, pool.nextStartAt, lookAt)
    // without the server, neither the dead nor ends that are due can be attended to
    await (this.isAlone ? agenda.pause(next) : agenda.pause(next, funeral.nextAt, ends.nextAt))
    if (agenda.takeDue() && !staffing.wakeOneOfEachRole()) agenda.tickSoon(0)
    if (!stopPlan.isStopping && pool.idle.length > 0 && rush.takeLook()) this.look()
  }

  private async leave(): Promise<void> {
    const { control } = this.parts.link
    if (!control.database.lost) await control.deregister().catch(() => undefined)
    await control.close()
    this.parts.options.emit({ event: 'stopped' })
  }

  private async recover(error: Error): Promise<void> {
    const { funeral, link, pool, stopPlan } = this.parts
    this.onLate()
    let isConnected: boolean
    try {
      isConnected = await link.recover(error, () => this.isPointless)
    } catch (failure) {
      if (!(failure instanceof NewerSchemaError)) throw failure
      return stopPlan.fail(superseded(failure.found)!)
    }
    if (!isConnected) for (const worker of pool.workers) worker.kill()
    funeral.distrust()
  }

  /** The server was away, or we were stopped: no death that happened meanwhile is a task's fault. */
  private onLate(): void {
    this.parts.funeral.distrust()
    for (const worker of this.parts.pool.workers) worker.isDoubted = true
  }

  /** Nothing is left to do with a connection: we stop, and no task runs that could still end well. */
  private get isPointless(): boolean {
    const { pool, stopPlan } = this.parts
    return stopPlan.isStopping && (stopPlan.isOverdue || pool.busy.length === 0)
  }

  /** A new connection: settings may have changed meanwhile. */
  private onAttach(): void {
    this.housekeeping.noteSettings()
    this.parts.agenda.tickIn(0)
  }

  private onNotification(payload: string): void {
    const { agenda, rush } = this.parts
    if (payload === 'due') {
      this.look()
      // to tell enqueuers
      if (rush.note()) agenda.tickSoon(0)
      return
    }
    if (payload === 'settings') this.housekeeping.noteSettings()
    agenda.tickSoon(0)
  }

  /** Something may be due: for an idle worker, or for one that is to be started. */
  private look(): void {
    const { agenda, pool, staffing } = this.parts
    const isSeen = staffing.wakeOneOfEachRole()
    if (!isSeen || pool.active.length < staffing.slots) agenda.tickSoon(TICK_AFTER_NOTIFY_MS)
  }
}
