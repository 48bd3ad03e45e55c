import { expect, test } from 'vitest'
import { useDatabase } from '../support/database.js'
import {
  type Claim,
  emptyQueueBeforeEach,
  enqueue,
  failure,
  findTask,
  killWorker,
  pidOf,
  type SqlWorker,
  setParameter,
  startWorker,
  waitsForLock,
} from './sql-support.js'

const db = useDatabase()
emptyQueueBeforeEach(db)

const LIMIT = 'max_parallel_running_tasks_count'
const claimed = async (workers: SqlWorker[]) => {
  const claims: Claim[] = []
  for (const worker of workers) claims.push(await worker.claim())
  return claims.map((claim) => claim.sql_statement)
}
const startWorkers = async (n: number) => {
  const workers: SqlWorker[] = []
  for (let i = 0; i < n; i++) workers.push(await startWorker(db))
  return workers
}

test('runs no more tasks of a topic than its limit, and those of others beside them', async () => {
  await setParameter(db.owner, '/a', LIMIT, '2')
  for (const n of [1, 2, 3]) await enqueue(db.owner, `a${n}`, 'a', { priority: 1 })
  await enqueue(db.owner, 'b', 'b')
  const workers = await startWorkers(4)
  expect(await claimed(workers)).toEqual(['a1', 'a2', 'b', null])
})

test('does not let a saturated, a paused or a cooling topic hold up another, however much waits in it', async () => {
  await setParameter(db.owner, '/full', LIMIT, '1')
  await setParameter(db.owner, '/paused', 'paused', 'true')
  await setParameter(db.owner, '/zero', LIMIT, '0')
  await setParameter(db.owner, '/cooling', 'delay_in_sec', '3600')
  await setParameter(db.owner, '/cooling', LIMIT, '1')
  await db.owner.query(
    `insert into pg_background_tasks (sql_statement, topic, priority)
     select topic, topic, 1 from unnest(array['full', 'paused', 'zero', 'cooling']) topic, generate_series(1, 500)`,
  )
  await enqueue(db.owner, 'free', 'free', { priority: 1000 })
  const [first, second, third] = await startWorkers(3)
  expect((await first!.take()).sql_statement).toBe('full')
  const cooling = await second!.take()
  expect(cooling.sql_statement).toBe('cooling')
  await second!.finish(cooling)
  expect((await third!.take()).sql_statement).toBe('free')
  const { wait_ms } = await second!.claim()
  expect(wait_ms).toBeGreaterThan(3_500_000)
})

test('counts tasks without topic as one topic', async () => {
  await setParameter(db.owner, '/', LIMIT, '1')
  for (const topic of [null, '', null]) await enqueue(db.owner, 'none', topic, { priority: 1 })
  await enqueue(db.owner, 'a', 'a')
  expect(await claimed(await startWorkers(3))).toEqual(['none', 'a', null])
})

test.each([
  ['limit 0', LIMIT, '0'],
  ['paused', 'paused', 'true'],
])('runs nothing of a topic or of the queue while it is %s', async (_, name, value) => {
  await enqueue(db.owner, 'a', 'a')
  await setParameter(db.owner, '/a', name, value)
  const worker = await startWorker(db)
  // it waits where tasks of topics without settings wait: moved, and not to be taken
  expect(await worker.claim()).toMatchObject({ task_id: null, wait_ms: 0 })
  expect(await worker.claim()).toMatchObject({ task_id: null, wait_ms: null })
  await setParameter(db.owner, '/a', name, null)
  await setParameter(db.owner, '', name, value)
  expect(await worker.claim()).toMatchObject({ task_id: null, wait_ms: null })
  await setParameter(db.owner, '', name, null)
  expect((await worker.claim()).sql_statement).toBe('a')
})

test("caps a topic's limit by the queue's", async () => {
  await setParameter(db.owner, '', LIMIT, '1')
  await setParameter(db.owner, '/a', LIMIT, '5')
  for (const n of [1, 2]) await enqueue(db.owner, `a${n}`, 'a')
  expect(await claimed(await startWorkers(2))).toEqual(['a1', null])
})

test("keeps a topic's slot for delay_in_sec after each end of a run, whatever the end", async () => {
  await setParameter(db.owner, '/a', 'delay_in_sec', '3600')
  await setParameter(db.owner, '/a', LIMIT, '5')
  await setParameter(db.owner, '', LIMIT, '10')
  for (let i = 0; i < 6; i++) await enqueue(db.owner, `${i}`, 'a', { max_retries: 1 })
  const workers = await startWorkers(6)
  const claims = await Promise.all(workers.slice(0, 5).map((worker) => worker.take()))
  const [finished, failed, released, cancelled, dead] = workers as [
    SqlWorker,
    SqlWorker,
    SqlWorker,
    SqlWorker,
    SqlWorker,
  ]
  await finished.finish(claims[0]!)
  await failed.fail(claims[1]!)
  await released.session.query(`select background_queue.release($1, $2, 'x')`, [
    claims[2]!.task_id,
    claims[2]!.token,
  ])
  await db.owner.query(`update pg_background_tasks set end_requested = 'cancel' where id = $1`, [
    claims[3]!.task_id,
  ])
  await cancelled.fail(claims[3]!)
  await killWorker(db, dead)
  await db.owner.query(`select background_queue.bury_worker($1, true, 'x')`, [dead.id])
  const cooling = await db.owner.query('select lane from background_queue.cooling')
  expect(cooling).toEqual(Array(5).fill({ lane: '/a' }))
  expect((await workers[5]!.claim()).task_id).toBeNull()
  await db.owner.query(
    'delete from background_queue.cooling where ctid = (select min(ctid) from background_queue.cooling)',
  )
  expect((await workers[5]!.claim()).task_id).not.toBeNull()
})

test('starts the first task of a delayed queue at once, and each topic by itself', async () => {
  await setParameter(db.owner, '', 'delay_in_sec', '3600')
  await setParameter(db.owner, '', LIMIT, '1')
  for (const topic of ['a', 'a', 'b', null]) await enqueue(db.owner, topic ?? 'none', topic)
  const worker = await startWorker(db)
  const seen: string[] = []
  for (;;) {
    const claim = await worker.claim()
    if (claim.task_id === null) break
    seen.push(claim.sql_statement)
    await worker.finish(claim)
  }
  expect(seen).toEqual(['a', 'b', 'none'])
})

test('stops nothing that runs when a limit is lowered, and starts nothing until it fits', async () => {
  await setParameter(db.owner, '/a', LIMIT, '3')
  for (let i = 0; i < 5; i++) await enqueue(db.owner, `a${i}`, 'a')
  const workers = await startWorkers(4)
  const claims = await Promise.all(workers.slice(0, 3).map((worker) => worker.take()))
  await setParameter(db.owner, '/a', LIMIT, '1')
  for (const n of [0, 1]) {
    expect((await workers[3]!.claim()).task_id).toBeNull()
    await workers[n]!.finish(claims[n]!)
  }
  expect((await workers[3]!.claim()).task_id).toBeNull()
  await workers[2]!.finish(claims[2]!)
  expect((await workers[3]!.claim()).task_id).not.toBeNull()
})

test('obeys a limit that was set while a task was being enqueued', async () => {
  const workers = await startWorkers(3)
  const enqueuer = await db.session()
  await enqueuer.query('begin')
  for (let i = 0; i < 3; i++) await enqueue(enqueuer, `a${i}`, 'a')
  await setParameter(db.owner, '/a', LIMIT, '1')
  await enqueuer.query('commit')
  const taken: bigint[] = []
  for (let look = 0; look < 10; look++) {
    for (const worker of workers) {
      const { task_id } = await worker.claim()
      if (task_id !== null) taken.push(task_id)
    }
  }
  expect(taken).toHaveLength(1)
  expect(await findTask(db, taken[0]!)).toMatchObject({ state: 'running', sql_statement: 'a0' })
})

test('makes a change of a limit wait for a claim, and the next claim for the change', async () => {
  await setParameter(db.owner, '/a', LIMIT, '2')
  for (let i = 0; i < 3; i++) await enqueue(db.owner, `a${i}`, 'a')
  const [first, second] = (await startWorkers(2)) as [SqlWorker, SqlWorker]
  await first.session.query('begin')
  await first.take()
  const changer = await db.session()
  const { pid } = await changer.one<{ pid: number }>('select pg_backend_pid() as pid')
  await changer.query('begin')
  const change = setParameter(changer, '/a', LIMIT, '1')
  await waitsForLock(db, pid)
  const claim = second.claim()
  await waitsForLock(db, second.pid)
  await first.session.query('commit')
  await change
  await changer.query('commit')
  expect((await claim).task_id).toBeNull()
})

test('makes a second claim of a limited topic wait for the first, and then count it', async () => {
  await setParameter(db.owner, '/a', LIMIT, '1')
  for (let i = 0; i < 2; i++) await enqueue(db.owner, `a${i}`, 'a')
  const [first, second] = (await startWorkers(2)) as [SqlWorker, SqlWorker]
  await first.session.query('begin')
  await first.take()
  const claim = second.claim()
  await waitsForLock(db, second.pid)
  await first.session.query('commit')
  expect((await claim).task_id).toBeNull()
})

test('runs no more than the limit of the queue when more workers exist', async () => {
  await setParameter(db.owner, '', LIMIT, '2')
  for (let i = 0; i < 6; i++) await enqueue(db.owner, `${i}`)
  const workers = await startWorkers(6)
  const claims = await Promise.all(workers.map((worker) => worker.claim()))
  expect(claims.filter((claim) => claim.task_id !== null)).toHaveLength(2)
  expect(claims.filter((claim) => claim.task_id === null).map((claim) => claim.wait_ms)).toEqual(
    Array(4).fill(100),
  )
})

test('counts a worker that registers while another claims', async () => {
  await setParameter(db.owner, '', LIMIT, '1')
  for (let i = 0; i < 2; i++) await enqueue(db.owner, `${i}`)
  const first = await startWorker(db)
  await first.session.query('begin')
  await first.take()
  const ownerPid = await pidOf(db.owner)
  const second = startWorker(db)
  await waitsForLock(db, ownerPid)
  await first.session.query('commit')
  expect((await (await second).claim()).task_id).toBeNull()
})

test.each(['repeatable read', 'serializable'])(
  'refuses a claim under %s, which could not count what others do',
  async (level) => {
    await enqueue(db.owner)
    const worker = await startWorker(db)
    await worker.session.query(`set default_transaction_isolation = '${level}'`)
    expect(await failure(worker.claim())).toMatchObject({
      sqlstate: '25000',
      message: `A claim needs READ COMMITTED, got ${level.toUpperCase()}`,
    })
  },
)
