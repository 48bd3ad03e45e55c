import { install } from '../../engine/migrator.js'
import { findHolders, tasksOf } from '../holders.js'
import type { Fault, Scene } from '../types.js'

/** Every supervisor is stopped and replaced, one after another, with an install in the middle. */
export const rollingDeploy: Fault = {
  kind: 'rolling-deploy',
  whyNot: () => undefined,
  strike: async (scene) => {
    const at = Date.now()
    const hosts = scene.fleet.targets
    const victims: bigint[] = []
    for (const [index, host] of hosts.entries()) {
      if (scene.signal.aborted) break
      victims.push(...tasksOf((await findHolders(scene)).filter((h) => host.workers.has(h.pid))))
      await scene.fleet.stop(host)
      if (index === 0) await installAgain(scene)
      await scene.fleet.ready(scene.fleet.replace(host))
    }
    return hosts.length === 0 ? undefined : { detail: `${hosts.length} hosts, with an install`, victims, at }
  },
}

async function installAgain({ arena }: Scene): Promise<void> {
  const database = await arena.line.connect()
  try {
    await install(database)
  } finally {
    await database.close()
  }
}
