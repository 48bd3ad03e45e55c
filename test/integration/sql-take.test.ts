import { beforeEach, expect, onTestFinished, test } from 'vitest'
import { useDatabase } from '../support/database.js'
import { ALICE } from '../support/names.js'
import { waitFor } from '../support/wait.js'
import {
  type Claim,
  emptyQueueBeforeEach,
  enqueue,
  failure,
  findTask,
  type SqlWorker,
  setGroupPatience,
  setParameter,
  startWorker,
} from './sql-support.js'

const db = useDatabase()
emptyQueueBeforeEach(db)

const LIMIT = 'max_parallel_running_tasks_count'

beforeEach(async () => {
  await setParameter(db.owner, '', LIMIT, '10')
  await setGroupPatience(db, true)
})

/** A worker with a claimed task, in a transaction as the task's own would be. */
async function lead(): Promise<{ worker: SqlWorker; claim: Claim }> {
  const worker = await startWorker(db)
  const claim = await worker.take()
  await worker.session.query('begin')
  onTestFinished(() =>
    worker.session.query('rollback').then(
      () => undefined,
      () => undefined,
    ),
  )
  return { worker, claim }
}

const texts = (rows: { sql_statement: string }[]) => rows.map((row) => row.sql_statement)

test('gives those right behind a task in their order, as many as are wanted', async () => {
  for (const sql of ['a', 'b', 'c', 'd']) await enqueue(db.owner, sql)
  const { worker, claim } = await lead()
  expect(texts(await worker.follow(claim, 2))).toEqual(['b', 'c'])
})

/** What stands in the way behind the first of three. */
const ALONE: [string, string | null, object][] = [
  ['another topic', 'other', {}],
  ['a task outside transactions', null, { mode: 'autocommit' }],
  ['a task of an isolation of its own', null, { isolation: 'serializable' }],
  ['a text that is long', null, {}],
]

test.each(ALONE)('stops before %s, and leaves it to others', async (name, topic, options) => {
  const third = name.includes('long') ? `select '${'x'.repeat(10_000)}'` : 'c'
  for (const sql of ['a', 'b']) await enqueue(db.owner, sql)
  await enqueue(db.owner, third, topic, options)
  await enqueue(db.owner, 'd')
  const { worker, claim } = await lead()
  expect(texts(await worker.follow(claim, 9))).toEqual(['b'])
  const other = await startWorker(db)
  expect((await other.take()).sql_statement).toBe(third)
})

test('stops before a task that has failed or was rescued before', async () => {
  await enqueue(db.owner, 'a')
  const failed = await enqueue(db.owner, 'b', null, { max_retries: 1 })
  const { worker, claim } = await lead()
  await db.owner.query(
    `update pg_background_tasks set state = 'retrying', retry_count = 1, started_at = joined_at, errors = 'boom' where id = $1`,
    [failed],
  )
  expect(await worker.follow(claim, 9)).toEqual([])
  await db.owner.query(
    `update pg_background_tasks set state = 'pending', retry_count = 0, started_at = null, errors = null, rescues = 1 where id = $1`,
    [failed],
  )
  expect(await worker.follow(claim, 9)).toEqual([])
  await db.owner.query('update pg_background_tasks set rescues = 0 where id = $1', [failed])
  expect(texts(await worker.follow(claim, 9))).toEqual(['b'])
})

/** What ends a group before it begins: each done behind the claim of the first task. */
const ENDS: [string, (claim: Claim) => Promise<unknown>][] = [
  ['the queue is paused', () => setParameter(db.owner, '', 'paused', 'true')],
  ['more workers are there than may run', () => setParameter(db.owner, '', LIMIT, '0')],
  ['its topic got a limit that is used up', () => setParameter(db.owner, '/reports', LIMIT, '0')],
  ['its topic got a delay', () => setParameter(db.owner, '/reports', 'delay_in_sec', '1')],
  ['a more urgent task has come', () => enqueue(db.owner, 'urgent', null, { priority: 1 })],
  [
    'its end was requested',
    ({ task_id }) =>
      db.owner.query(`update pg_background_tasks set end_requested = 'cancel' where id = $1`, [task_id]),
  ],
  [
    'it was rescued before, and may be what killed its worker',
    ({ task_id }) => db.owner.query('update pg_background_tasks set rescues = 1 where id = $1', [task_id]),
  ],
]

test.each(ENDS)('gives none where %s', async (_, change) => {
  for (const sql of ['a', 'b']) await enqueue(db.owner, sql, 'reports')
  const worker = await startWorker(db)
  const claim = await worker.take()
  expect(texts(await worker.follow(claim, 9))).toEqual(['b'])
  await change(claim)
  expect(await worker.follow(claim, 9)).toEqual([])
})

test('gives none in a transaction that is READ ONLY, not READ COMMITTED, or took long', async () => {
  for (const sql of ['a', 'b']) await enqueue(db.owner, sql)
  const { worker, claim } = await lead()
  await worker.session.query('rollback')
  for (const mode of ['read only', 'isolation level repeatable read', 'isolation level serializable']) {
    await worker.session.query(`begin ${mode}`)
    expect(await worker.follow(claim, 9)).toEqual([])
    await worker.session.query('rollback')
  }
  await setGroupPatience(db, false)
  await worker.session.query('begin')
  await worker.session.query('select pg_sleep(0.026)')
  expect(await worker.follow(claim, 9)).toEqual([])
})

test('gives nothing without the token and the secret, and nothing of another role', async () => {
  await enqueue(db.owner, 'a')
  const alice = await db.session(ALICE)
  await db.owner.query('select background_queue.grant_enqueue($1)', [ALICE])
  await enqueue(alice, 'of alice')
  const { worker, claim } = await lead()
  await enqueue(db.owner, 'b')
  expect(await worker.follow(claim, 9, { token: 'x' })).toEqual([])
  expect(await worker.follow(claim, 9, { secret: 'x' })).toEqual([])
  expect(texts(await worker.follow(claim, 9))).toEqual(['b'])
})

test('holds what it gives until the transaction ends, and not longer', async () => {
  for (const sql of ['a', 'b', 'c', 'd']) await enqueue(db.owner, sql)
  const { worker, claim } = await lead()
  await worker.follow(claim, 2)
  const other = await startWorker(db)
  await other.session.query('begin')
  expect((await other.take()).sql_statement).toBe('d')
  await other.session.query('rollback')
  await db.admin.query('select pg_terminate_backend($1)', [worker.pid])
  await waitFor('the next in order to be free', async () => {
    await other.session.query('begin')
    const { sql_statement } = await other.claim()
    await other.session.query('rollback')
    return sql_statement === 'b'
  })
})

test('tells of constraints that may wait for the commit', async () => {
  for (const sql of ['a', 'b']) await enqueue(db.owner, sql)
  const { worker, claim } = await lead()
  expect((await worker.follow(claim, 1))[0]!.has_deferrable).toBe(false)
  await worker.session.query('create table deferred (n integer unique deferrable)')
  expect((await worker.follow(claim, 1))[0]!.has_deferrable).toBe(true)
})

test('finishes a group at the instants that are told, and claims first what it took and did not run', async () => {
  const ids = []
  for (const sql of ['a', 'b', 'c', 'd']) ids.push(await enqueue(db.owner, sql))
  const { worker, claim } = await lead()
  const followers = await worker.follow(claim, 3)
  const begun = Date.now() / 1000
  const done = followers.slice(0, 2).map((f) => f.task_id)
  const next = await worker.finishGroup(claim, done, [null, begun, begun + 1, begun + 2])
  expect(next).toMatchObject({ task_id: ids[3], sql_statement: 'd' })
  await worker.session.query('commit')
  const at = (seconds: number) => new Date(Math.round(seconds * 1000)).toISOString().slice(0, 22)
  const rows: any[] = []
  for (const id of ids) rows.push(await findTask(db, id))
  expect(rows.map((row) => row.state)).toEqual(['finished', 'finished', 'finished', 'running'])
  const instants = (row: Record<string, string>) =>
    [row.started_at!, row.closed_at!].map((text) => at(new Date(text).getTime() / 1000))
  expect(instants(rows[0])[1]).toBe(at(begun))
  expect(instants(rows[1])).toEqual([at(begun), at(begun + 1)])
  expect(instants(rows[2])).toEqual([at(begun + 1), at(begun + 2)])
  expect(rows.map((row) => row.rows_affected)).toEqual([null, 0n, 1n, null])
  expect(rows.map((row) => row.command_tag)).toEqual(['SELECT', 'INSERT', 'INSERT', null])
})

test('ends now what ended at no instant that is known', async () => {
  for (const sql of ['a', 'b']) await enqueue(db.owner, sql)
  const { worker, claim } = await lead()
  const [follower] = await worker.follow(claim, 1)
  const begun = Date.now() / 1000 - 60
  await worker.finishGroup(claim, [follower!.task_id], [null, begun, null])
  await worker.session.query('commit')
  const [row] = await db.owner.query(
    `select state::text, closed_at - started_at > '50 s' as is_closed_now from pg_background_tasks where id = $1`,
    [follower!.task_id],
  )
  expect(row).toEqual({ state: 'finished', is_closed_now: true })
})

/** What must not happen to a task between take() and its finish; each: PQ004, or the error of the first. */
const CHANGES: [string, string, string][] = [
  [
    'one that ran was cancelled',
    `update pg_background_tasks set state = 'cancelled', closed_at = now() where id = $2`,
    'PQ004',
  ],
  ['one that ran was deleted', 'delete from pg_background_tasks where id = $2', 'PQ004'],
  ['one that ran is of another topic', `update pg_background_tasks set topic = 'x' where id = $2`, 'PQ004'],
  [
    'the end of the first was requested',
    `update pg_background_tasks set end_requested = 'cancel' where id = $1`,
    'PQ002',
  ],
  [
    'the claim on the first was lost',
    `update pg_background_tasks set state = 'pending', started_at = null, token_hash = null, worker_id = null where id = $1`,
    'PQ001',
  ],
]

test.each(CHANGES)('finishes none where %s', async (_, change, sqlstate) => {
  for (const sql of ['a', 'b', 'c']) await enqueue(db.owner, sql)
  const { worker, claim } = await lead()
  const [follower] = await worker.follow(claim, 9)
  // as a task itself could, in the same transaction
  const used = [claim.task_id, follower!.task_id].filter((_id, n) => change.includes(`$${n + 1}`))
  await worker.session.query(change.replace('$2', '$1'), used)
  const error = await failure(worker.finishGroup(claim, [follower!.task_id], [null, 1, 2]))
  expect(error.sqlstate).toBe(sqlstate)
})

test('finishes nothing that it has not taken for the role of the first task', async () => {
  await enqueue(db.owner, 'a')
  await db.owner.query('select background_queue.grant_enqueue($1)', [ALICE])
  const foreign = await enqueue(await db.session(ALICE), 'of alice')
  const { worker, claim } = await lead()
  expect((await failure(worker.finishGroup(claim, [foreign], [null, 1, 2]))).sqlstate).toBe('PQ004')
  await worker.session.query('rollback')
  expect((await findTask(db, foreign)).state).toBe('pending')
})
