import { findHolders, findRunning, tasksOf } from '../holders.js'
import { sendSignal } from '../host.js'
import type { Fault, Scene, Strike } from '../types.js'
import { pickHost } from './supervisor-kill.js'

/** Longer than it takes the living to act: a supervisor on its worker, and another host on a silent one. */
const CHILD_MS = 8000
const HOST_MS = 14_000

/** SIGSTOP of a worker, a supervisor or a whole host, and SIGCONT long after its tasks were run by others. */
export const freeze: Fault = {
  kind: 'freeze',
  whyNot: () => undefined,
  strike: (scene) => (scene.random.next() < 0.5 ? freezeChild(scene) : freezeHost(scene)),
}

async function freezeChild(scene: Scene): Promise<Strike | undefined> {
  const holder = await findRunning(scene)
  const at = Date.now()
  if (!holder || !sendSignal(holder.pid, 'SIGSTOP')) return undefined
  return {
    detail: 'a worker',
    victims: tasksOf([holder]),
    at,
    heal: { afterMs: CHILD_MS, run: async () => void sendSignal(holder.pid, 'SIGCONT') },
  }
}

async function freezeHost(scene: Scene): Promise<Strike | undefined> {
  const host = pickHost(scene)
  if (!host) return undefined
  const pids = scene.random.next() < 0.5 ? [host.pid] : [host.pid, ...host.workers]
  const isWhole = pids.length > 1
  const victims = isWhole ? tasksOf((await findHolders(scene)).filter((h) => host.workers.has(h.pid))) : []
  const at = Date.now()
  for (const pid of pids) sendSignal(pid, 'SIGSTOP')
  return {
    detail: isWhole ? `host ${host.name}` : `the supervisor of host ${host.name}`,
    victims,
    at,
    heal: {
      afterMs: HOST_MS,
      run: async () => {
        for (const pid of pids) sendSignal(pid, 'SIGCONT')
      },
    },
  }
}
