import type { ConnectionTarget } from '../database/target.js'
import type { Emit } from '../events.js'

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
  /** after each tick: the connection is there, and the loop runs */
  onTick?: (() => void) | undefined
}
