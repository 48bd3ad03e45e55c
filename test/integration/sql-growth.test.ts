import { expect, test } from 'vitest'
import type { Database } from '../../src/engine/database/database.js'
import { useDatabase } from '../support/database.js'
import { OWNER } from '../support/names.js'
import {
  emptyQueueBeforeEach,
  enqueue,
  registerSupervisor,
  setParameter,
  startWorker,
} from './sql-support.js'

const db = useDatabase()
emptyQueueBeforeEach(db)

const ROWS = 3000
/** Far below ROWS, and far above what any call needs. */
const MOST_READ = 500

/** Whatever stands in the way of the tasks that are due: closed, saturated, paused, of tomorrow, in many topics. */
async function loadBallast(): Promise<void> {
  await setParameter(db.owner, 'saturated', 'max_parallel_running_tasks_count', '1')
  await setParameter(db.owner, 'paused', 'paused', 'true')
  const first = await startWorker(db)
  await enqueue(db.owner, 'select 1', 'saturated', { priority: -1 })
  await first.take()
  for (const [columns, values] of [
    ['state, started_at, closed_at, lane', `'finished', now(), now(), ''`],
    ['topic, lane', `'saturated', '/saturated'`],
    ['topic, lane', `'paused', '/paused'`],
    ['priority, run_at, lane', `1, now() + interval '1 day', ''`],
    ['topic, run_at, lane', `'topic ' || g, now() + interval '1 day', ''`],
  ]) {
    await db.owner.query(
      `insert into pg_background_tasks (sql_statement, ${columns}) select 'select 1', ${values} from generate_series(1, ${ROWS}) g`,
    )
  }
}

/** How many rows and index entries of the queue this session read for a call. */
async function readBy(session: Database, call: () => Promise<unknown>): Promise<number> {
  const count = async () => {
    const { read } = await session.one<{ read: number }>(
      `select sum(pg_stat_get_xact_tuples_returned(c.oid))::integer as read from pg_class c
       where c.relname ~ '^(tasks_|pg_background_tasks|lanes|settings)' and c.relkind in ('r', 'i')`,
    )
    return read
  }
  await session.query('begin')
  try {
    const before = await count()
    await call()
    return (await count()) - before
  } finally {
    await session.query('commit')
  }
}

test('what a supervisor, a worker and an enqueuer ask does not read what is in the table', async () => {
  await setParameter(db.owner, '', 'max_parallel_running_tasks_count', '10')
  await loadBallast()
  for (let i = 0; i < 3; i++) await enqueue(db.owner)
  const supervisor = await registerSupervisor(db.owner)
  const worker = await startWorker(db, { role: OWNER })
  const read: Record<string, number> = {}
  read.tick = await readBy(db.owner, () =>
    db.owner.query(`select background_queue.tick($1, true, $2)`, [supervisor, []]),
  )
  // of lanes where nothing is due, so that it has to look at all
  read.hasWork = await readBy(db.owner, () =>
    db.owner.query('select background_queue.has_work($1, $2)', [[], ['/elsewhere']]),
  )
  const claims = [await worker.take()]
  for (const isNear of [true, false]) {
    const claim = claims.at(-1)!
    const what = isNear ? 'finish and claim behind it' : 'finish and look at all'
    read[what] = await readBy(worker.session, async () => {
      claims.push(await worker.finishAndClaim(claim, isNear))
    })
  }
  await worker.finish(claims.at(-1)!)
  read.claim = await readBy(worker.session, () => worker.claim())
  read.enqueue = await readBy(db.owner, () => enqueue(db.owner))
  read.enqueueWithOptions = await readBy(db.owner, () =>
    enqueue(db.owner, 'select 1', 'paused', { max_retries: 2 }),
  )
  const dear = Object.entries(read).filter(([, rows]) => rows > MOST_READ)
  expect(dear).toEqual([])
  expect(read.tick).toBeGreaterThan(0)
})
