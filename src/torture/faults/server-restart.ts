import { findHolders, tasksOf } from '../holders.js'
import type { Fault } from '../types.js'

/** Down and up again, as an administrator does it, or as a crash does. */
export const serverRestart: Fault = {
  kind: 'server-restart',
  whyNot: ({ arena }) => (arena.own ? undefined : 'only a server of our own is restarted (--embedded)'),
  strike: async (scene) => {
    const mode = scene.random.pick(['fast', 'immediate'] as const)
    const victims = tasksOf(await findHolders(scene))
    await scene.arena.own!.restart(mode)
    return { detail: mode, victims, at: Date.now() }
  },
}
