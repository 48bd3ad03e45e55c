import { setTimeout as sleep } from 'node:timers/promises'
import type { Fault, FaultKind, Scene, Strike } from './types.js'

/** One fault that struck, as the report needs it. */
export interface Struck {
  kind: FaultKind
  detail: string
  victims: bigint[]
  at: number
  endedAt: number
}

export interface StormOptions {
  faults: Fault[]
  /** ends after so many faults, or after this long; at least one of the two */
  rounds: number | undefined
  durationMs: number | undefined
  /** between two faults, on average */
  pauseMs: number
  onStrike(strike: Struck, round: number): void
}

/** How often a kind is drawn, compared with the others. */
const WEIGHTS: Partial<Record<FaultKind, number>> = {
  'child-kill': 4,
  'backend-kill': 2,
  'supervisor-kill': 2,
  settings: 2,
}

/** What has to be undone before: a frozen host cannot be stopped, and a server on a full disk not be started. */
const WAITS_FOR: Partial<Record<FaultKind, FaultKind[]>> = {
  'rolling-deploy': ['freeze', 'network', 'full', 'supervisor-kill', 'pooler'],
  'server-restart': ['full'],
}

/**
 * Strikes with one fault after another, in an order that the seed repeats: every kind before any comes again. What
 * has to be undone later goes on while others strike, but never two of a kind at once.
 */
export class Storm {
  readonly struck: Struck[] = []
  /** faults that did not strike, by reason */
  readonly missed: string[] = []
  private readonly scene: Scene
  private readonly options: StormOptions
  private readonly healing = new Map<FaultKind, Promise<void>>()
  private deck: Fault[] = []

  constructor(scene: Scene, options: StormOptions) {
    this.scene = scene
    this.options = options
  }

  /** Resolves when it is over and everything is healed. */
  async rage(): Promise<void> {
    const endsAt = Date.now() + (this.options.durationMs ?? Number.POSITIVE_INFINITY)
    const most = this.options.rounds ?? Number.POSITIVE_INFINITY
    while (!this.scene.signal.aborted && Date.now() < endsAt && this.struck.length < most) {
      const fault = await this.draw()
      if (fault) await this.strike(fault)
      await this.rest(this.options.pauseMs * (0.5 + this.scene.random.next()))
    }
    await Promise.all(this.healing.values())
  }

  private async draw(): Promise<Fault | undefined> {
    if (this.deck.length === 0) this.deck = this.scene.random.shuffle(this.options.faults.flatMap(weighed))
    const at = this.deck.findIndex(
      ({ kind }) => ![kind, ...(WAITS_FOR[kind] ?? [])].some((k) => this.healing.has(k)),
    )
    if (at >= 0) return this.deck.splice(at, 1)[0]
    // all that is left in the deck waits for something to be undone
    await this.rest(100)
    return undefined
  }

  private async strike(fault: Fault): Promise<void> {
    this.scene.workload.fault = fault.kind
    try {
      const strike = await fault.strike(this.scene)
      if (strike) this.note(fault.kind, strike)
      else this.missed.push(`${fault.kind}: the moment did not come`)
    } catch (error) {
      // the server may be away, or the process gone, just then
      this.missed.push(`${fault.kind}: ${(error as Error).message}`)
    }
  }

  private note(kind: FaultKind, { detail, victims, at, heal }: Strike): void {
    const struck = { kind, detail, victims, at, endedAt: Date.now() }
    this.struck.push(struck)
    this.options.onStrike(struck, this.struck.length)
    if (!heal) return
    const healed = this.rest(heal.afterMs)
      .then(heal.run)
      .catch((error: Error) => void this.missed.push(`${kind}: not undone: ${error.message}`))
      .finally(() => {
        struck.endedAt = Date.now()
        this.healing.delete(kind)
      })
    this.healing.set(kind, healed)
  }

  /** Cut short when the storm is called off. */
  private async rest(ms: number): Promise<void> {
    await sleep(ms, undefined, { signal: this.scene.signal }).catch(() => undefined)
  }
}

const weighed = (fault: Fault): Fault[] => Array(WEIGHTS[fault.kind] ?? 1).fill(fault)
