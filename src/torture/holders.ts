import { setTimeout as sleep } from 'node:timers/promises'
import type { Row } from '../engine/database/database.js'
import type { Scene } from './types.js'

/** A worker as the queue knows it, with what its backend does now. */
export interface Holder extends Row {
  pid: number
  backend_pid: number
  task_id: bigint | null
  /** pg_stat_activity.state; null where it may not be seen */
  state: string | null
  query: string | null
  is_waiting: boolean
}

const HOLDERS = `select w.pid, w.backend_pid, t.id as task_id, a.state, a.query, a.wait_event_type = 'Lock' as is_waiting
  from background_queue.workers w join pg_stat_activity a on a.pid = w.backend_pid
  left join pg_background_tasks t on t.worker_id = w.id and t.state = 'running' order by w.id`

const LOOK_EVERY_MS = 10
const LONG_TASK_MS = 1500

/** As superuser where the server is ours, for other roles' sessions show nothing to an ordinary one. */
export function findHolders({ arena }: Scene): Promise<Holder[]> {
  return arena.admin.query<Holder>(HOLDERS)
}

/** Looks until something is found; undefined when the moment did not come. */
export async function waitUntil<T>(
  scene: Scene,
  look: () => Promise<T | undefined> | T | undefined,
  forMs = 3000,
): Promise<T | undefined> {
  for (const giveUpAt = Date.now() + forMs; Date.now() < giveUpAt && !scene.signal.aborted; ) {
    const found = await look()
    if (found !== undefined) return found
    await sleep(LOOK_EVERY_MS)
  }
  return undefined
}

/** A worker of one of the fleet's hosts that runs the SQL of a task now. */
export async function findRunning(scene: Scene, fits: (holder: Holder) => boolean = () => true) {
  const look = async (): Promise<Holder | undefined> => {
    const running = (await findHolders(scene)).filter(
      (h) => h.task_id !== null && h.state === 'active' && !isOurs(h) && isOfFleet(scene, h) && fits(h),
    )
    return running.length > 0 ? scene.random.pick(running) : undefined
  }
  const found = await waitUntil(scene, look, 200)
  if (found) return found
  await scene.workload.enqueueLong(LONG_TASK_MS)
  return waitUntil(scene, look)
}

const isOurs = ({ query }: Holder): boolean => query?.includes('background_queue.') ?? false

export const isOfFleet = ({ fleet }: Scene, { pid }: Holder): boolean =>
  fleet.targets.some((host) => host.workers.has(pid))

/** Ids of what some workers hold. */
export function tasksOf(holders: Holder[]): bigint[] {
  return holders.flatMap(({ task_id }) => (task_id === null ? [] : [task_id]))
}
