import { setTimeout as sleep } from 'node:timers/promises'
import type { Database } from '../../engine/database/database.js'
import { findHolders, isOfFleet } from '../holders.js'
import { sendSignal } from '../host.js'
import type { Fault, Scene, Strike } from '../types.js'

const HELD_MS = 3000
const MOST_LOOKS = 4
const LOOK_AGAIN_MS = 300
const MOST_SESSIONS = 200
const SHORT = {
  statement_timeout: '250ms',
  lock_timeout: '100ms',
  idle_in_transaction_session_timeout: '100ms',
}

/** No connection slot is left, the role has time-outs that hit everything, or the disk is full. */
export const full: Fault = {
  kind: 'full',
  whyNot: ({ arena }) => (arena.own ? undefined : 'only a server of our own is filled up (--embedded)'),
  strike: (scene) => {
    const variants = [noSlots, shortOfTime, ...(scene.arena.own!.disk ? [noSpace] : [])]
    return scene.random.pick(variants)(scene)
  },
}

/** Workers that die meanwhile cannot come back. */
async function noSlots(scene: Scene): Promise<Strike> {
  const taken: Database[] = []
  const at = Date.now()
  const free = async (): Promise<void> => void (await Promise.all(taken.map((session) => session.close())))
  while (taken.length < MOST_SESSIONS) {
    const session = await scene.arena.line.connect().catch(() => undefined)
    if (!session) break
    taken.push(session)
  }
  const worker = (await findHolders(scene).catch(() => [])).find(
    (h) => h.task_id === null && isOfFleet(scene, h),
  )
  if (worker) sendSignal(worker.pid, 'SIGKILL')
  return { detail: 'connection slots', victims: [], at, heal: { afterMs: HELD_MS, run: free } }
}

async function shortOfTime(scene: Scene): Promise<Strike> {
  const { owner, admin } = scene.arena
  const at = Date.now()
  await admin.use(async (database) => {
    for (const [name, value] of Object.entries(SHORT))
      await database.query(`alter role ${owner} set ${name} = '${value}'`)
    await endSessions(database, owner)
  })
  return {
    detail: "time-outs of the role's own",
    victims: [],
    at,
    heal: { afterMs: HELD_MS, run: () => timeAgain(scene) },
  }
}

async function timeAgain({ arena }: Scene): Promise<void> {
  await arena.admin.insist(async (database) => {
    for (const name of Object.keys(SHORT)) await database.query(`alter role ${arena.owner} reset ${name}`)
    // a session that is just beginning has the old settings, and is not to be seen yet
    const [{ now }] = (await database.query('select clock_timestamp()::text as now')) as [{ now: string }]
    for (let looks = 0; looks < MOST_LOOKS; looks++) {
      await endSessions(database, arena.owner, now)
      await sleep(LOOK_AGAIN_MS)
    }
  })
}

/**
 * All but our own: what is connected keeps the settings it began with, and a pooler gives a worker the session that a
 * supervisor or its log had before.
 */
const endSessions = (database: Database, owner: string, begunBefore = 'infinity'): Promise<unknown> =>
  database.query(
    `select pg_terminate_backend(pid) from pg_stat_activity
     where usename = $1 and application_name <> 'pgbq torture' and backend_start < $2`,
    [owner, begunBefore],
  )

/** A server that cannot write its log crashes, and may not come up again before there is space. */
async function noSpace({ arena }: Scene): Promise<Strike> {
  const { disk } = arena.own!
  const at = Date.now()
  disk!.fill()
  return {
    detail: 'disk',
    victims: [],
    at,
    heal: {
      afterMs: HELD_MS,
      run: async () => {
        disk!.free()
        await arena.own!.launch()
      },
    },
  }
}
