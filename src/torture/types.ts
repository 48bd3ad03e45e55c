import type { Arena } from './arena.js'
import type { Fleet } from './fleet.js'
import type { Random } from './random.js'
import type { Workload } from './workload.js'

export const FAULT_KINDS = [
  'child-kill',
  'supervisor-kill',
  'freeze',
  'backend-kill',
  'server-restart',
  'network',
  'rolling-deploy',
  'settings',
  'pooler',
  'full',
] as const

export type FaultKind = (typeof FAULT_KINDS)[number]

/** What a fault may reach for. */
export interface Scene {
  arena: Arena
  fleet: Fleet
  workload: Workload
  random: Random
  /** aborted when the storm is over: what waits for a moment to strike gives up */
  signal: AbortSignal
}

/** A fault that has struck. */
export interface Strike {
  /** in a few words, such as "between statement and commit" */
  detail: string
  /** tasks whose run it broke: each is expected to run again */
  victims: bigint[]
  /** when it struck, or when what was taken away came back; Date.now() */
  at: number
  /** undoes it after a time; the storm goes on meanwhile */
  heal?: { afterMs: number; run: () => Promise<void> }
}

export interface Fault {
  kind: FaultKind
  /** why it cannot be done here, undefined if it can */
  whyNot(scene: Scene): string | undefined
  /** undefined: the moment never came */
  strike(scene: Scene): Promise<Strike | undefined>
}
