import { setTimeout as sleep } from 'node:timers/promises'
import { findHolders, tasksOf } from '../holders.js'
import type { Host } from '../host.js'
import type { Fault, Scene } from '../types.js'

const REPLACED_AFTER_MS = 3000

/** SIGKILL of a supervisor, or of it and its workers at once; another host has to take over what it held. */
export const supervisorKill: Fault = {
  kind: 'supervisor-kill',
  whyNot: () => undefined,
  strike: async (scene) => {
    const host = pickHost(scene)
    if (!host) return undefined
    const victims = tasksOf((await findHolders(scene)).filter((h) => host.workers.has(h.pid)))
    const isWhole = scene.random.next() < 0.5
    host.isEnding = true
    const at = Date.now()
    if (isWhole) host.killAll('SIGKILL')
    else host.kill('SIGKILL')
    return {
      detail: isWhole ? `host ${host.name}: supervisor and workers` : `host ${host.name}: supervisor`,
      victims,
      at,
      heal: { afterMs: REPLACED_AFTER_MS, run: () => replace(scene, host) },
    }
  },
}

/** Not the last one: somebody has to be there who rescues. */
export function pickHost({ fleet, random }: Scene): Host | undefined {
  return fleet.targets.length > 1 ? random.pick(fleet.targets) : undefined
}

async function replace({ fleet }: Scene, host: Host): Promise<void> {
  await host.exited
  // an orphan that is cancelling its task is still the dead host's
  await sleep(0)
  await fleet.ready(fleet.replace(host))
}
