import { storeParameter } from '../../engine/settings.js'
import { LIMITS, setLimit } from '../arena.js'
import type { Fault, Scene } from '../types.js'

const CHANGES = [
  ['limit of topic pair', (scene: Scene) => limit(scene, 'pair', scene.random.integer(1, 3))],
  ['limit of the queue', (scene: Scene) => limit(scene, '', scene.random.integer(3, 9))],
  ['topic free paused', (scene: Scene) => store(scene, '/free', 'paused', 'true')],
  ['delay of topic pair', (scene: Scene) => store(scene, '/pair', 'delay_in_sec', '0.1')],
] as const

const RESTORED_AFTER_MS = 1500

/** Limits, pauses and delays change under running tasks, and change back. */
export const settings: Fault = {
  kind: 'settings',
  whyNot: () => undefined,
  strike: async (scene) => {
    const [detail, change] = scene.random.pick(CHANGES)
    await change(scene)
    return {
      detail,
      victims: [],
      at: Date.now(),
      heal: { afterMs: RESTORED_AFTER_MS, run: () => restore(scene) },
    }
  },
}

/** A server that is away when it is time is waited for: what stays paused would be stuck. */
function restore({ arena }: Scene): Promise<void> {
  return arena.line.insist(async (database) => {
    await storeParameter(database, '/free', 'paused', null)
    await storeParameter(database, '/pair', 'delay_in_sec', null)
    for (const topic of ['pair', '']) await setLimit(database, topic, LIMITS[topic]!)
  })
}

const limit = ({ arena }: Scene, topic: string, value: number): Promise<void> =>
  arena.line.use((database) => setLimit(database, topic, value))

const store = ({ arena }: Scene, lane: string, name: string, value: string): Promise<void> =>
  arena.line.use((database) => storeParameter(database, lane, name, value))
