import type { Bound } from '../queues/bound.js'
import type { QueueKind } from '../queues/queue.js'
import type { BenchServer } from '../server.js'
import type { BenchOptions } from '../speed/bench-options.js'
import type { Figures } from '../speed/figures.js'

/** What a scenario measures on, and where its figures go. */
export interface Bench {
  server: BenchServer
  options: BenchOptions
  bound: Bound
  /** the other queues with their settings; empty where they are not wanted or not to be had */
  peers: QueueKind[]
  figures: Figures
  note(message: string): void
  /** This many for the scale, and at least so many. `amongAll`: the number where there is not time for all of each. */
  scaled(count: number, least: number, amongAll?: number): number
}

export interface Scenario {
  name: string
  /** what it does, for --help */
  about: string
  /** only when named by --only: it takes too long for the whole */
  isLong?: true
  /** Errors: an effect that is missing or there twice; such figures would count nothing. */
  run(bench: Bench): Promise<void>
}

/** The other queues' names, by which bars are set. */
export const GRAPHILE_DEFAULTS = 'graphile-worker, defaults'
export const GRAPHILE_BATCHES = 'graphile-worker, batches of 500'
export const BOSS_TRANSACTIONS = 'pg-boss, transactions of 100'

/** Everybody in turn, and each round another one first, so that a machine that slows down hits all alike. */
export async function inTurn<T>(
  rounds: number,
  all: T[],
  measure: (one: T, round: number) => Promise<void>,
): Promise<void> {
  for (let round = 0; round < rounds; round++) {
    for (let i = 0; i < all.length; i++) await measure(all[(i + round) % all.length]!, round)
  }
}
