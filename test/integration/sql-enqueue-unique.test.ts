import { beforeAll, expect, test } from 'vitest'
import { useDatabase } from '../support/database.js'
import { ALICE, BOB } from '../support/names.js'
import {
  emptyQueueBeforeEach,
  enqueue,
  failure,
  findTask,
  pidOf,
  startWorker,
  waitsForLock,
} from './sql-support.js'

const db = useDatabase()
emptyQueueBeforeEach(db)
beforeAll(async () => {
  await db.owner.query('select background_queue.grant_enqueue($1), background_queue.grant_enqueue($2)', [
    ALICE,
    BOB,
  ])
})

const KEY = { unique_key: 'nightly' }

test('adds nothing for a key that waits, and returns the first id', async () => {
  const first = await enqueue(db.owner, 'select 1', 'a', KEY)
  expect(await enqueue(db.owner, 'select 2', 'b', KEY)).toBe(first)
  expect(await findTask(db, first)).toMatchObject({ sql_statement: 'select 1', topic: 'a' })
  expect(await db.owner.query('select id from pg_background_tasks')).toEqual([{ id: first }])
})

test('says whether the task existed', async () => {
  const insert = `insert into background_queue.inbox (sql_statement, options) values ('select 1', $1) returning id, existing`
  const [first] = await db.owner.query(insert, [KEY])
  expect(first).toMatchObject({ existing: false })
  expect(await db.owner.query(insert, [KEY])).toEqual([{ id: first!.id, existing: true }])
})

test('keeps the keys of two roles apart', async () => {
  const alice = await db.session(ALICE)
  const bob = await db.session(BOB)
  const first = await enqueue(alice, 'select 1', null, KEY)
  const second = await enqueue(bob, 'select 1', null, KEY)
  expect(second).not.toBe(first)
})

test('keeps a key taken while its task runs or waits for a retry, and frees it at the end', async () => {
  const worker = await startWorker(db)
  const first = await enqueue(db.owner, 'select 1', null, { ...KEY, max_retries: 1 })
  const claim = await worker.take()
  expect(await enqueue(db.owner, 'select 1', null, KEY)).toBe(first)
  expect(await worker.fail(claim)).toBe('retrying')
  expect(await enqueue(db.owner, 'select 1', null, KEY)).toBe(first)
  await db.owner.query('select pg_background_cancel($1)', [first])
  expect(await enqueue(db.owner, 'select 1', null, KEY)).not.toBe(first)
})

test('makes a second enqueuer wait for the first, and gives both one id when it commits', async () => {
  const other = await db.session()
  const pid = await pidOf(other)
  await db.owner.query('begin')
  const first = await enqueue(db.owner, 'select 1', null, KEY)
  const second = enqueue(other, 'select 1', null, KEY)
  await waitsForLock(db, pid)
  await db.owner.query('commit')
  expect(await second).toBe(first)
})

test('gives the key to the second enqueuer when the first rolls back', async () => {
  const other = await db.session()
  const pid = await pidOf(other)
  await db.owner.query('begin')
  const first = await enqueue(db.owner, 'select 1', null, KEY)
  const second = enqueue(other, 'select 2', null, KEY)
  await waitsForLock(db, pid)
  await db.owner.query('rollback')
  const id = await second
  expect(id).not.toBe(first)
  expect((await findTask(db, id)).sql_statement).toBe('select 2')
})

test('ends a second enqueuer under REPEATABLE READ with a serialization failure, not with a second task', async () => {
  const other = await db.session()
  await other.query('begin isolation level repeatable read')
  await other.query('select 1 from pg_background_tasks')
  await enqueue(db.owner, 'select 1', null, KEY)
  expect((await failure(enqueue(other, 'select 1', null, KEY))).sqlstate).toBe('40001')
  await other.query('rollback')
  expect(await db.owner.query('select from pg_background_tasks')).toHaveLength(1)
})

test('leaves one active task when many sessions enqueue one key while a worker finishes it', async () => {
  const worker = await startWorker(db)
  const sessions = await Promise.all([1, 2, 3, 4].map(() => db.session()))
  const enqueuers = sessions.map(async (session) => {
    const ids: bigint[] = []
    for (let i = 0; i < 40; i++) ids.push(await enqueue(session, 'select 1', null, KEY))
    return ids
  })
  let isDone = false
  const all = Promise.all(enqueuers).finally(() => {
    isDone = true
  })
  while (!isDone) {
    const claim = await worker.claim()
    if (claim.task_id !== null) await worker.finish(claim)
  }
  const ids = new Set((await all).flat())
  const rows = await db.owner.query<{ id: bigint }>('select id from pg_background_tasks')
  expect(new Set(rows.map((row) => row.id))).toEqual(ids)
  const [active] = await db.owner.query(
    `select count(*)::integer as count from pg_background_tasks where state <> 'finished'`,
  )
  expect(active!.count).toBeLessThanOrEqual(1)
})
