import { beforeEach, expect, test } from 'vitest'
import { useDatabase } from '../support/database.js'
import { ALICE, OWNER } from '../support/names.js'
import { waitFor } from '../support/wait.js'
import {
  type Claim,
  emptyQueueBeforeEach,
  enqueue,
  failure,
  findTask,
  registerSupervisor,
  type SqlWorker,
  setParameter,
  startWorker,
} from './sql-support.js'

const db = useDatabase()
emptyQueueBeforeEach(db)

const LIMIT = 'max_parallel_running_tasks_count'

const stateOf = async (id: bigint | null) => (await findTask(db, id!)).state

beforeEach(async () => {
  await setParameter(db.owner, '', LIMIT, '10')
})

/** Ways to look for the next task: just behind the last, or at all that waits. */
const WAYS: [string, boolean][] = [
  ['behind the last', true],
  ['at all that waits', false],
]

test.each(WAYS)('finishes a task and claims the next in one transaction, looking %s', async (_, isNear) => {
  const id = await enqueue(db.owner, 'select 1')
  const next = await enqueue(db.owner, 'select 2', 'reports', { timeout_in_sec: 7 })
  const worker = await startWorker(db)
  const claim = await worker.take()
  await worker.session.query('begin')
  const taken = await worker.finishAndClaim(claim, isNear)
  expect(taken).toMatchObject({
    task_id: next,
    sql_statement: 'select 2',
    topic: 'reports',
    attempt: 1,
    timeout_in_sec: 7,
    statements_done: 0,
  })
  expect(taken.wait_ms).toBeGreaterThanOrEqual(0)
  expect(taken.look_ms === null).toBe(isNear)
  expect([await stateOf(id), await stateOf(next)]).toEqual(['running', 'pending'])
  await worker.session.query('commit')
  expect(await findTask(db, id)).toMatchObject({ state: 'finished', rows_affected: 1n, worker_id: null })
  expect(await findTask(db, next)).toMatchObject({ state: 'running', worker_id: worker.id, closed_at: null })
  await worker.finish(taken)
  expect(await stateOf(next)).toBe('finished')
})

test.each(WAYS)('gives both back when its transaction does not commit, looking %s', async (_, isNear) => {
  const id = await enqueue(db.owner)
  const next = await enqueue(db.owner)
  const worker = await startWorker(db)
  const claim = await worker.take()
  await worker.session.query('begin')
  expect((await worker.finishAndClaim(claim, isNear)).task_id).toBe(next)
  await worker.session.query('rollback')
  expect([await stateOf(id), await stateOf(next)]).toEqual(['running', 'pending'])
})

test.each(WAYS)('takes a better priority and its own order first, looking %s', async (_, isNear) => {
  await enqueue(db.owner, 'first')
  for (const sql of ['second', 'third']) await enqueue(db.owner, sql)
  const worker = await startWorker(db)
  const first: Claim = await worker.take()
  await enqueue(db.owner, 'urgent', null, { priority: 1 })
  await enqueue(db.owner, 'tomorrow', null, { priority: 0, run_at: 'tomorrow' })
  const order = []
  for (let claim = first; claim.task_id !== null; ) {
    order.push(claim.sql_statement)
    const next = await worker.finishAndClaim(claim, isNear)
    // just behind the last of a priority there is none
    claim = next.task_id === null ? await worker.claim() : next
  }
  expect(order).toEqual(['first', 'urgent', 'second', 'third'])
})

test('looks just behind the last also where better priorities wait for their time, and at all for many of them', async () => {
  for (const sql of ['first', 'second', 'third', 'fourth']) await enqueue(db.owner, sql)
  const worker = await startWorker(db)
  const first = await worker.take()
  await enqueue(db.owner, 'tomorrow', null, { priority: 1, run_at: 'tomorrow' })
  const second = await worker.finishAndClaim(first, true)
  expect(second).toMatchObject({ sql_statement: 'second', look_ms: null })
  await enqueue(db.owner, 'due', null, { priority: 2 })
  const due = await worker.finishAndClaim(second, true)
  expect(due.sql_statement).toBe('due')
  for (const priority of [3, 4, 5])
    await enqueue(db.owner, 'tomorrow', null, { priority, run_at: 'tomorrow' })
  await worker.finishAndClaim(due, true)
  const third = await worker.take()
  expect(third.sql_statement).toBe('third')
  const fourth = await worker.finishAndClaim(third, true)
  expect(fourth.sql_statement).toBe('fourth')
  expect(fourth.look_ms).not.toBeNull()
})

test('looking behind the last steps over what others hold', async () => {
  for (const sql of ['a', 'b', 'c']) await enqueue(db.owner, sql)
  const [one, two] = [await startWorker(db), await startWorker(db)]
  const a = await one.take()
  await two.session.query('begin')
  expect((await two.take()).sql_statement).toBe('b')
  expect((await one.finishAndClaim(a, true)).sql_statement).toBe('c')
  await two.session.query('rollback')
})

test.each(WAYS)('goes on in a topic at its limit, and passes it nowhere, looking %s', async (_, isNear) => {
  await setParameter(db.owner, '/a', LIMIT, '1')
  for (const n of [1, 2, 3]) await enqueue(db.owner, `a${n}`, 'a')
  const [one, two] = [await startWorker(db), await startWorker(db)]
  const claim = await one.take()
  await one.session.query('begin')
  expect((await one.finishAndClaim(claim, isNear)).sql_statement).toBe('a2')
  expect((await two.claim()).task_id).toBeNull()
  await one.session.query('commit')
  expect((await two.claim()).task_id).toBeNull()
  expect(
    await db.owner.query(`select sql_statement from pg_background_tasks where state = 'running'`),
  ).toEqual([{ sql_statement: 'a2' }])
})

/** What forbids a claim without a lock: the task ends well, and the next one is left to claim(). */
const REFUSALS: [string, (worker: SqlWorker) => Promise<unknown>][] = [
  ['the queue is paused', () => setParameter(db.owner, '', 'paused', 'true')],
  ['the limit of the queue went below its workers', () => setParameter(db.owner, '', LIMIT, '0')],
  [
    'the next task waits in a topic with a limit',
    async () => {
      await db.owner.query(`update pg_background_tasks set topic = 'b', lane = '/b' where state = 'pending'`)
      await setParameter(db.owner, '/b', LIMIT, '5')
    },
  ],
  ['its topic got a limit since it was enqueued', () => setParameter(db.owner, '/', LIMIT, '5')],
  [
    'its role was renamed',
    () => db.owner.query(`update pg_background_tasks set enqueued_by = 'nobody' where state = 'pending'`),
  ],
  [
    'its role is another',
    () =>
      db.owner.query(
        `update pg_background_tasks set enqueued_by = $1::text, enqueued_by_oid = quote_ident($1::text)::regrole where state = 'pending'`,
        [ALICE],
      ),
  ],
  [
    'it is due later',
    () => db.owner.query(`update pg_background_tasks set run_at = now() + '1 h' where state = 'pending'`),
  ],
  [
    'the supervisor serves other topics',
    () => db.owner.query(`update background_queue.supervisors set lanes = '{/other}'`),
  ],
  [
    'the worker is not registered',
    ({ id }) => db.owner.query('delete from background_queue.workers where id = $1', [id]),
  ],
  [
    'the transaction is not READ COMMITTED',
    ({ session }) => session.query('begin isolation level repeatable read'),
  ],
]
test.each(
  REFUSALS.flatMap(([what, prepare]) => WAYS.map(([way, isNear]) => ({ what, way, isNear, prepare }))),
)('only finishes where $what, looking $way', async ({ isNear, prepare }) => {
  const id = await enqueue(db.owner)
  const next = await enqueue(db.owner)
  const worker = await startWorker(db)
  const claim = await worker.take()
  await prepare(worker)
  expect((await worker.finishAndClaim(claim, isNear)).task_id).toBeNull()
  await worker.session.query('commit')
  expect([await stateOf(id), await stateOf(next)]).toEqual(['finished', 'pending'])
})

test('gives one that comes while it looks as one that has not waited', async () => {
  await enqueue(db.owner)
  const worker = await startWorker(db)
  const claim = await worker.take()
  const other = await db.session(OWNER)
  await other.query('begin')
  await other.query('lock table background_queue.workers in access exclusive mode')
  const finishing = worker.finishAndClaim(claim, false)
  await waitFor('the finish that looks', async () => {
    const held = `select from pg_locks l join pg_database d on d.oid = l.database and d.datname = current_database()
      where l.relation = 'background_queue.workers'::regclass and not l.granted`
    return (await db.owner.query(held)).length > 0
  })
  await enqueue(db.owner, 'late')
  await db.owner.query('select pg_sleep(0.01)')
  await other.query('commit')
  // -1 would say that nothing was finished
  expect(await finishing).toMatchObject({ sql_statement: 'late', wait_ms: 0 })
})

test.each(WAYS)('steps over no task that is for claim() to move, looking %s', async (_, isNear) => {
  await enqueue(db.owner)
  const renamed = await enqueue(db.owner)
  const behind = await enqueue(db.owner)
  const worker = await startWorker(db)
  const claim = await worker.take()
  await db.owner.query(`update pg_background_tasks set enqueued_by = 'nobody' where id = $1`, [renamed])
  expect((await worker.finishAndClaim(claim, isNear)).task_id).toBeNull()
  await worker.claim()
  expect((await findTask(db, renamed)).lane).toBe('!')
  expect(await worker.claim()).toMatchObject({ task_id: behind })
})

test('only finishes for whoever does not know the secret of the worker', async () => {
  const id = await enqueue(db.owner)
  const next = await enqueue(db.owner)
  const worker = await startWorker(db)
  const claim = await worker.take()
  expect((await worker.finishAndClaim(claim, true, 'guessed')).task_id).toBeNull()
  expect([await stateOf(id), await stateOf(next)]).toEqual(['finished', 'pending'])
})

test.each(WAYS)('keeps the slot of a topic for its delay, looking %s', async (_, isNear) => {
  await setParameter(db.owner, '/a', 'delay_in_sec', '3600')
  await setParameter(db.owner, '/a', LIMIT, '1')
  for (const n of [1, 2]) await enqueue(db.owner, `a${n}`, 'a')
  await enqueue(db.owner, 'free')
  const worker = await startWorker(db)
  const claim = await worker.take()
  expect(claim.sql_statement).toBe('a1')
  const next = await worker.finishAndClaim(claim, isNear)
  expect([null, 'free']).toContain(next.sql_statement)
  expect(await db.owner.query('select lane from background_queue.cooling')).toEqual([{ lane: '/a' }])
})

test.each(WAYS)(
  'takes nothing for a task whose claim is lost or whose end was asked for, looking %s',
  async (_, isNear) => {
    const id = await enqueue(db.owner)
    const next = await enqueue(db.owner)
    const worker = await startWorker(db)
    const claim = await worker.take()
    for (const token of ['guessed', '', null] as string[]) {
      const refused = await failure(worker.finishAndClaim({ ...claim, token }, isNear))
      expect(refused.sqlstate).toBe('PQ001')
    }
    const waiting = { ...claim, task_id: next, token: null as unknown as string }
    expect((await failure(worker.finishAndClaim(waiting, isNear))).sqlstate).toBe('PQ001')
    await db.owner.query(`select background_queue.request_end($1, $2, null, 'cancel', 'me')`, [id, worker.id])
    expect(await failure(worker.finishAndClaim(claim, isNear))).toMatchObject({ sqlstate: 'PQ002' })
    expect([await stateOf(id), await stateOf(next)]).toEqual(['running', 'pending'])
  },
)

test('serves the waiting tasks of all roles for a worker that becomes them', async () => {
  await db.owner.query('select background_queue.grant_enqueue($1)', [ALICE])
  const alice = await db.session(ALICE)
  await enqueue(db.owner, 'owner')
  await enqueue(alice, 'alice')
  const worker = await startWorker(db, { supervisorId: await registerSupervisor(db.owner), setsRole: true })
  const next = await worker.finishAndClaim(await worker.take(), false)
  expect(next).toMatchObject({ sql_statement: 'alice', role: ALICE })
})

test('says that nothing waits only where that is so, for whatever reason it waits', async () => {
  const left = async (isNear: boolean) => {
    const worker = await startWorker(db)
    const id = await enqueue(db.owner, 'select 1', null, { priority: -1 })
    const claim = await worker.take()
    expect(claim.task_id).toBe(id)
    return (await worker.finishAndClaim(claim, isNear)).wait_ms
  }
  expect([await left(true), await left(false)]).toEqual([null, null])
  await enqueue(db.owner, 'select 1', null, { run_at: 'tomorrow' })
  expect([await left(true), await left(false)]).toEqual([0, 0])
  await db.owner.query('truncate pg_background_tasks')
  await setParameter(db.owner, '/a', 'paused', 'true')
  await enqueue(db.owner, 'select 1', 'a')
  expect([await left(true), await left(false)]).toEqual([0, 0])
})

test('says whether a slot of a limited topic is left to others', async () => {
  await setParameter(db.owner, '/limited', LIMIT, '1')
  for (const topic of ['limited', 'limited', 'a', 'b'])
    await enqueue(db.owner, `select '${topic}'`, topic, { priority: topic === 'limited' ? 1 : 2 })
  const worker = await startWorker(db)
  const told = []
  for (let claim: Claim = await worker.take(); claim.task_id !== null; ) {
    const next = await worker.finishAndClaim(claim, false)
    told.push([claim.topic, next.topic, next.leaves_slot])
    claim = next
  }
  expect(told).toEqual([
    ['limited', 'limited', false],
    ['limited', 'a', true],
    ['a', 'b', false],
    ['b', null, null],
  ])
})
