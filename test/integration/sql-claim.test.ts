import { beforeAll, expect, test } from 'vitest'
import { useDatabase } from '../support/database.js'
import { ALICE, BOB } from '../support/names.js'
import {
  emptyQueueBeforeEach,
  enqueue,
  failure,
  findTask,
  registerSupervisor,
  type SqlWorker,
  setParameter,
  startWorker,
  useRole,
} from './sql-support.js'

const db = useDatabase()
emptyQueueBeforeEach(db)
const CAROL = useRole(db, 'carol')
beforeAll(async () => {
  for (const role of [ALICE, BOB, CAROL])
    await db.owner.query('select background_queue.grant_enqueue($1)', [role])
})

/** The statements that a worker gets until nothing is due. */
async function drain(worker: SqlWorker): Promise<string[]> {
  const statements: string[] = []
  for (;;) {
    const claim = await worker.claim()
    if (claim.task_id === null) return statements
    statements.push(claim.sql_statement)
    await worker.finish(claim)
  }
}

test('claims by priority, then by the time due, then by id', async () => {
  const due = (minutes: number) => new Date(Date.now() - minutes * 60_000).toISOString()
  await enqueue(db.owner, 'default, first')
  await enqueue(db.owner, 'low', null, { priority: 101 })
  await enqueue(db.owner, 'negative', null, { priority: -5 })
  await enqueue(db.owner, 'due earlier', 'a', { run_at: due(5) })
  await enqueue(db.owner, 'due earliest', 'b', { run_at: due(9) })
  await enqueue(db.owner, 'default, second', 'a')
  await enqueue(db.owner, 'lowest', null, { priority: 2147483647 })
  await enqueue(db.owner, 'highest', null, { priority: -2147483648 })
  expect(await drain(await startWorker(db))).toEqual([
    'highest',
    'negative',
    'due earliest',
    'due earlier',
    'default, first',
    'default, second',
    'low',
    'lowest',
  ])
})

test('keeps the order across topics with and without limits', async () => {
  await setParameter(db.owner, '/limited', 'max_parallel_running_tasks_count', '1')
  for (const [n, topic] of ['limited', null, 'free', 'limited', null].entries())
    await enqueue(db.owner, `${n}`, topic, { priority: n < 3 ? 5 : 4 })
  expect(await drain(await startWorker(db))).toEqual(['3', '4', '0', '1', '2'])
})

test('says how long to wait for the next task that is due later, and steps over it', async () => {
  const later = new Date(Date.now() + 60_000).toISOString()
  await enqueue(db.owner, 'later', null, { run_at: later, priority: 1 })
  const worker = await startWorker(db)
  const { wait_ms } = await worker.claim()
  expect(wait_ms).toBeGreaterThan(50_000)
  expect(wait_ms).toBeLessThanOrEqual(60_000)
  await enqueue(db.owner, 'now', null, { priority: 2 })
  expect((await worker.take()).sql_statement).toBe('now')
})

test('waits an hour at most, however late a task is due', async () => {
  await enqueue(db.owner, 'later', null, { run_at: '9999-12-31' })
  expect((await (await startWorker(db)).claim()).wait_ms).toBe(3_600_000)
})

test('has no time to wait for while nothing waits', async () => {
  expect(await (await startWorker(db)).claim()).toMatchObject({ task_id: null, wait_ms: null })
})

test('gives a task to exactly one of two workers', async () => {
  const [first, second] = [await startWorker(db), await startWorker(db)]
  for (let i = 0; i < 50; i++) {
    await enqueue(db.owner)
    const claims = await Promise.all([first.claim(), second.claim()])
    expect(claims.filter((claim) => claim.task_id !== null)).toHaveLength(1)
    await db.owner.query('truncate pg_background_tasks')
  }
})

test('does not see a task before its enqueuer commits', async () => {
  const worker = await startWorker(db)
  await db.owner.query('begin')
  await enqueue(db.owner)
  expect((await worker.claim()).task_id).toBeNull()
  await db.owner.query('commit')
  expect((await worker.claim()).task_id).not.toBeNull()
})

test("gives a worker its own role's tasks and no others", async () => {
  const alice = await startWorker(db, { role: ALICE })
  const bob = await startWorker(db, { role: BOB })
  const owner = await startWorker(db)
  await enqueue(alice.session, 'of alice')
  expect((await bob.claim()).task_id).toBeNull()
  expect((await owner.claim()).task_id).toBeNull()
  expect(await drain(alice)).toEqual(['of alice'])
})

test('gives a worker that sets roles the tasks of all, with the role to set', async () => {
  const worker = await startWorker(db, { setsRole: true })
  expect((await worker.claim()).task_id).toBeNull()
  await enqueue(await db.session(ALICE), 'of alice')
  await enqueue(await db.session(BOB), 'of bob')
  expect([(await worker.take()).role, (await worker.take()).role]).toEqual([ALICE, BOB])
})

test('refuses a claim from another backend or with another secret', async () => {
  const alice = await startWorker(db, { role: ALICE })
  const bob = await startWorker(db, { role: BOB })
  await enqueue(alice.session)
  const claim = (id: bigint, secret: string | null) =>
    failure(bob.session.query('select background_queue.claim($1, $2)', [id, secret]))
  expect(await claim(alice.id, alice.secret)).toMatchObject({
    sqlstate: 'PQ003',
    message: `The worker ${alice.id} is not registered`,
  })
  expect((await claim(bob.id, alice.secret)).sqlstate).toBe('PQ003')
  expect((await claim(bob.id, null)).sqlstate).toBe('PQ003')
  expect((await claim(0n, bob.secret)).sqlstate).toBe('PQ003')
})

test('does not claim for a role that was renamed, even when another took its name', async () => {
  const session = await db.session(CAROL)
  await enqueue(session, 'of the first carol')
  const worker = await startWorker(db, { setsRole: true })
  await db.admin.query(`alter role ${CAROL} rename to ${CAROL}_old; create role ${CAROL} login`)
  try {
    const next = await startWorker(db)
    for (const w of [worker, next, worker]) expect((await w.claim()).task_id).toBeNull()
    expect(await worker.claim()).toMatchObject({ task_id: null, wait_ms: null })
    const [row] = await db.owner.query('select lane, state from pg_background_tasks')
    expect(row).toEqual({ lane: '!', state: 'pending' })
    await db.owner.query('select background_queue.relane(1000)')
    expect((await worker.claim()).task_id).toBeNull()
  } finally {
    await db.admin.query(
      `drop owned by ${CAROL}; drop role ${CAROL}; alter role ${CAROL}_old rename to ${CAROL}`,
    )
  }
})

test('serves only the topics that a supervisor asked for', async () => {
  const supervisorId = await registerSupervisor(db.owner, ['/a', '/'])
  for (const topic of ['a', 'b', null, 'a b']) await enqueue(db.owner, topic ?? 'none', topic)
  expect(await drain(await startWorker(db, { supervisorId }))).toEqual(['a', 'none'])
  expect(await drain(await startWorker(db))).toEqual(['b', 'a b'])
})

test('counts the attempts that were made before, and hands over what the task needs', async () => {
  await enqueue(db.owner, 'vacuum', 'a', { mode: 'autocommit', isolation: 'serializable', timeout_in_sec: 5 })
  await db.owner.query('update pg_background_tasks set retry_count = 2, statements_done = 3')
  expect(await (await startWorker(db)).take()).toMatchObject({
    sql_statement: 'vacuum',
    topic: 'a',
    mode: 'autocommit',
    isolation: 'serializable',
    role: 'pgbq_owner',
    timeout_in_sec: 5,
    statements_done: 3,
    attempt: 3,
  })
})

test('says for how long the task was due, also where milliseconds of months do not fit', async () => {
  const worker = await startWorker(db)
  await enqueue(db.owner, 'select 1', null, { run_at: new Date(Date.now() - 90_000).toISOString() })
  const { wait_ms } = await worker.take()
  expect(wait_ms).toBeGreaterThanOrEqual(90_000)
  expect(wait_ms).toBeLessThan(300_000)
  await enqueue(db.owner, 'select 1', null, { run_at: '2020-01-01T00:00:00Z' })
  expect(await (await startWorker(db)).take()).toMatchObject({
    sql_statement: 'select 1',
    wait_ms: 2 ** 31 - 1,
  })
})

test('records the true start of the attempt', async () => {
  const worker = await startWorker(db)
  const id = await enqueue(db.owner)
  await worker.session.query('begin')
  const { now } = await db.owner.one('select clock_timestamp() as now')
  await worker.take()
  await worker.session.query('commit')
  expect((await findTask(db, id)).started_at > now!).toBe(true)
})

test('puts no lock and leaves no lane behind when it is rolled back', async () => {
  await setParameter(db.owner, '/a', 'max_parallel_running_tasks_count', '1')
  const id = await enqueue(db.owner, 'select 1', 'a')
  const [first, second] = [await startWorker(db), await startWorker(db)]
  await first.session.query('begin')
  await first.take()
  await first.session.query('rollback')
  expect((await second.take()).task_id).toBe(id)
})
