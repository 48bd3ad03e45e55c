import { findHolders, tasksOf } from '../holders.js'
import type { Fault } from '../types.js'

const SILENT_MS = 16_000
const LOUD_MS = 3000

/** The link of the host in its own network namespace is cut and healed: packets dropped, or answered by a reset. */
export const network: Fault = {
  kind: 'network',
  whyNot: ({ arena }) =>
    arena.own?.network
      ? undefined
      : 'network namespaces need a server of our own, root on Linux and "ip" (iproute2)',
  strike: async (scene) => {
    const link = scene.arena.own!.network!
    const host = scene.fleet.at('remote')
    if (!host?.isReady) return undefined
    const victims = tasksOf((await findHolders(scene)).filter((h) => host.workers.has(h.pid)))
    const isSilent = scene.random.next() < 0.5
    const at = Date.now()
    if (isSilent) link.cutSilently()
    else link.cutLoudly()
    return {
      detail: isSilent ? 'packets dropped' : 'connections reset',
      victims,
      at,
      heal: { afterMs: isSilent ? SILENT_MS : LOUD_MS, run: async () => link.heal() },
    }
  },
}
