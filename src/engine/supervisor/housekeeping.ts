import { TICK_AFTER_NOTIFY_MS, TICK_MS } from './agenda.js'
import { PRUNED_AT_ONCE, type Tick } from './control.js'
import type { Parts } from './parts.js'
import { superseded } from './superseded.js'

const PRUNE_EVERY_MS = 60_000
const PRUNE_AGAIN_MS = 100

/** What a supervisor does once a second, and whenever it is woken: tells that it lives, and asks what there is to do. */
export class Housekeeping {
  private readonly parts: Parts
  /** waiting tasks may be in lanes where the settings no longer want them */
  private isMisplaced = false
  private wantedWake = false
  private pruneAt = performance.now() + 2000
  private isPruning = false
  private askAt = 0

  constructor(parts: Parts) {
    this.parts = parts
  }

  noteSettings(): void {
    this.isMisplaced = true
  }

  async tick(): Promise<void> {
    const { agenda, link, options, refused, rush, staffing, stopPlan } = this.parts
    agenda.tickIn(TICK_MS)
    if (this.isMisplaced) {
      this.isMisplaced = false
      if (!(await link.control.relane())) this.isMisplaced = true
    }
    const isRush = rush.isOn
    const wantsWake = staffing.wantsWake() && !isRush
    if (isRush) rush.keepLooking()
    const prunes = this.isPruneDue
    const workerIds = this.askedAbout()
    const tick = await link.control.tick({ wantsWake, refusedRoles: refused.names, prunes, workerIds })
    if (prunes) this.notePruned(tick.pruned!)
    if (!isRush) rush.stopLooking()
    options.onTick?.()
    const failure = superseded(tick.schema_version)
    if (failure) return stopPlan.fail(failure)
    if (!tick.is_registered) {
      agenda.tickIn(0)
      return link.enter()
    }
    if (link.control.hasStaleSettings(tick)) return link.renew()
    if (tick.settings_changed || this.isMisplaced) this.moveSoon()
    // an enqueue that committed beside this tick may still have read that no wake was wanted
    if (wantsWake && !this.wantedWake) agenda.tickIn(TICK_AFTER_NOTIFY_MS)
    this.wantedWake = wantsWake
    staffing.limit(tick.max_running)
    agenda.setDue(tick.next_due_ms)
    for (const role of tick.due_roles) staffing.serve(role)
    await this.obey(tick)
  }

  /** The same of a supervisor that stops: others must know that it lives, and cancels are still heard. */
  async tickWhileStopping(): Promise<void> {
    const { agenda, link, options, refused, stopPlan } = this.parts
    agenda.tickIn(TICK_MS)
    const workerIds = this.askedAbout()
    const tick = await link.control.tick({ wantsWake: false, refusedRoles: refused.names, workerIds })
    options.onTick?.()
    const failure = superseded(tick.schema_version)
    if (failure) stopPlan.fail(failure)
    if (!tick.is_registered) await link.enter()
    await this.obey(tick)
  }

  private moveSoon(): void {
    this.isMisplaced = true
    this.parts.agenda.tickIn(TICK_AFTER_NOTIFY_MS)
  }

  /** Once a second, all workers; where their backends are gone and they do not know, they are ended. */
  private askedAbout(): bigint[] {
    if (performance.now() < this.askAt) return []
    this.askAt = performance.now() + TICK_MS
    return [...this.parts.pool.workers].flatMap(({ id }) => id ?? [])
  }

  private async obey({ rescued, cancels, severed }: Tick): Promise<void> {
    const { ends, options, pool } = this.parts
    for (const worker of pool.workers) if (severed.includes(worker.id!)) worker.sever()
    if (rescued.length > 0)
      options.emit({ event: 'rescued', taskIds: rescued, reason: 'their supervisor or host was gone' })
    for (const { taskId, workerId, by } of cancels) {
      const worker = pool.byId(BigInt(workerId))
      if (worker) await ends.request(worker, BigInt(taskId), null, 'cancel', by)
    }
  }

  /** The next part, where one was not all. */
  async pruneOn(): Promise<void> {
    if (this.isPruning && this.isPruneDue) this.notePruned(await this.parts.link.control.prune())
  }

  private get isPruneDue(): boolean {
    return performance.now() >= this.pruneAt
  }

  private notePruned(count: number): void {
    this.isPruning = count >= PRUNED_AT_ONCE
    this.pruneAt = performance.now() + (this.isPruning ? PRUNE_AGAIN_MS : PRUNE_EVERY_MS)
  }
}
