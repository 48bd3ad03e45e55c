import type { Row } from '../../engine/database/database.js'
import { findHolders, findRunning, tasksOf } from '../holders.js'
import type { Fault, Scene, Strike } from '../types.js'

/** pg_terminate_backend of a worker's session, busy or idle, or of a supervisor's. */
export const backendKill: Fault = {
  kind: 'backend-kill',
  whyNot: () => undefined,
  strike: async (scene) => {
    const target = scene.random.pick(['busy', 'idle', 'control'])
    if (target === 'control') return killControl(scene)
    const holder =
      target === 'busy'
        ? await findRunning(scene)
        : (await findHolders(scene)).find((h) => h.task_id === null)
    return holder && terminate(scene, holder.backend_pid, tasksOf([holder]), `of a worker, ${target}`)
  },
}

async function killControl(scene: Scene): Promise<Strike | undefined> {
  const rows = await scene.arena.admin.query<Row & { backend_pid: number }>(
    'select backend_pid from background_queue.supervisors',
  )
  return rows.length === 0
    ? undefined
    : terminate(scene, scene.random.pick(rows).backend_pid, [], 'of a supervisor')
}

async function terminate(
  { arena }: Scene,
  backendPid: number,
  victims: bigint[],
  detail: string,
): Promise<Strike | undefined> {
  const at = Date.now()
  const [row] = await arena.admin.query<{ done: boolean }>('select pg_terminate_backend($1) as done', [
    backendPid,
  ])
  return row?.done ? { detail, victims, at } : undefined
}
