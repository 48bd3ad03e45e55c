import type { Database } from '../../engine/database/database.js'
import { findHolders, findRunning, type Holder, isOfFleet, waitUntil } from '../holders.js'
import { sendSignal } from '../host.js'
import type { Fault, Scene, Strike } from '../types.js'

const POINTS = ['statement', 'commit', 'claiming', 'claimed', 'idle'] as const

/**
 * SIGKILL of a worker's process at a known point: it is stopped first, so that it stays there, and killed once its
 * backend is seen where it has to be.
 */
export const childKill: Fault = {
  kind: 'child-kill',
  whyNot: () => undefined,
  strike: async (scene) => {
    const point = scene.random.pick(POINTS)
    if (point === 'statement') return midStatement(scene)
    if (point === 'commit') return beforeCommit(scene)
    if (point === 'idle') return whileIdle(scene)
    return whileClaiming(scene, point === 'claimed')
  },
}

function kill({ pid, task_id }: Holder, detail: string): Strike | undefined {
  const at = Date.now()
  if (!sendSignal(pid, 'SIGKILL')) return undefined
  return { detail, victims: task_id === null ? [] : [task_id], at }
}

async function midStatement(scene: Scene): Promise<Strike | undefined> {
  const holder = await findRunning(scene)
  return holder && kill(holder, 'in the middle of a statement')
}

/** Stopped while its statement runs on in the server; the answer finds nobody who could send the commit. */
async function beforeCommit(scene: Scene): Promise<Strike | undefined> {
  const holder = await findRunning(scene)
  if (!holder || !sendSignal(holder.pid, 'SIGSTOP')) return undefined
  const isThere = await waitUntil(scene, async () =>
    (await findHolders(scene)).find((h) => h.pid === holder.pid && h.state === 'idle in transaction'),
  )
  return kill(holder, isThere ? 'between statement and commit' : 'in the middle of a statement')
}

async function whileIdle(scene: Scene): Promise<Strike | undefined> {
  const look = async () => {
    const idle = (await findHolders(scene)).filter((h) => h.task_id === null && isOfFleet(scene, h))
    return idle.length > 0 ? scene.random.pick(idle) : undefined
  }
  const holder = await waitUntil(scene, look, 500)
  return holder ? kill(holder, 'while idle') : midStatement(scene)
}

/** Behind a lock of ours on the claim gate: the claim waits in the server while its worker dies. */
async function whileClaiming(scene: Scene, isClaimed: boolean): Promise<Strike | undefined> {
  const gate = await scene.arena.line.connect()
  try {
    const holder = await holdAtGate(scene, gate)
    if (!holder || !sendSignal(holder.pid, 'SIGSTOP')) return undefined
    if (!isClaimed) return kill(holder, 'while claiming')
    await gate.query('rollback')
    const claimed = await waitUntil(scene, async () =>
      (await findHolders(scene)).find(
        (h) => h.pid === holder.pid && h.task_id !== null && h.state !== 'active',
      ),
    )
    return kill(claimed ?? holder, claimed ? 'between claim and statement' : 'while claiming')
  } finally {
    await gate.close()
  }
}

async function holdAtGate(scene: Scene, gate: Database): Promise<Holder | undefined> {
  await gate.query(`begin; set local lock_timeout = '3s'`)
  await gate.query('lock table background_queue.claim_gate in access exclusive mode')
  return waitUntil(
    scene,
    async () =>
      (await findHolders(scene)).find(
        (h) => h.is_waiting && h.query?.includes('.claim(') && isOfFleet(scene, h),
      ),
    1500,
  )
}
