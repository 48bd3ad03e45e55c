import { findHolders, tasksOf } from '../holders.js'
import type { Fault } from '../types.js'

const AWAY_MS = 1000

/** SIGKILL of the pgbouncer through which one host works, and a new one in its place. */
export const pooler: Fault = {
  kind: 'pooler',
  whyNot: ({ arena }) =>
    arena.pooler
      ? undefined
      : `needs ${arena.own ? 'pgbouncer on PATH' : 'a server of our own (--embedded)'}`,
  strike: async (scene) => {
    const host = scene.fleet.at('pooled')
    if (!host?.isReady) return undefined
    const { pooler } = scene.arena
    const victims = tasksOf((await findHolders(scene)).filter((h) => host.workers.has(h.pid)))
    const at = Date.now()
    await pooler!.kill()
    return {
      detail: 'pgbouncer killed',
      victims,
      at,
      heal: { afterMs: AWAY_MS, run: () => pooler!.launch() },
    }
  },
}
