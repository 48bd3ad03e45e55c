import { beforeAll, beforeEach, expect, test } from 'vitest'
import type { Database } from '../../src/engine/database/database.js'
import { useDatabase } from '../support/database.js'
import { ALICE, BOB, OWNER } from '../support/names.js'
import { waitFor } from '../support/wait.js'
import {
  emptyQueueBeforeEach,
  enqueue,
  failure,
  findTask,
  pidOf,
  type SqlWorker,
  startWorker,
  useRole,
  waitsForLock,
} from './sql-support.js'

const db = useDatabase()
emptyQueueBeforeEach(db)
const MEMBER = useRole(db, 'member')

let alice: Database
let bob: Database
let worker: SqlWorker
beforeAll(async () => {
  for (const role of [ALICE, BOB]) await db.owner.query('select background_queue.grant_enqueue($1)', [role])
  alice = await db.session(ALICE)
  bob = await db.session(BOB)
})
beforeEach(async () => {
  worker = await startWorker(db)
})

const command = async (session: Database, verb: 'cancel' | 'retry', id: bigint) =>
  (await session.one<{ done: boolean }>(`select pg_background_${verb}($1) as done`, [id])).done

const requests = () => db.owner.query('select task_id, requested_by from background_queue.cancel_requests')

test("lets a role cancel and retry its own tasks, not those of others, and the queue's owner all", async () => {
  const own = await enqueue(alice)
  const other = await enqueue(bob)
  expect(await command(alice, 'cancel', other)).toBe(false)
  expect((await findTask(db, other)).state).toBe('pending')
  expect(await command(alice, 'cancel', own)).toBe(true)
  expect((await findTask(db, own)).errors).toBe('Cancelled by pgbq_alice before it ran')
  expect(await command(bob, 'retry', own)).toBe(false)
  expect(await command(alice, 'retry', own)).toBe(true)
  for (const id of [own, other]) expect(await command(db.owner, 'cancel', id)).toBe(true)
  expect(await command(bob, 'retry', other)).toBe(true)
})

test('lets a member of the owner cancel, and nobody who lost the membership', async () => {
  const id = await enqueue(bob)
  await db.owner.query('select background_queue.grant_enqueue($1)', [MEMBER])
  const session = await db.session(MEMBER)
  await db.admin.query(`grant ${OWNER} to ${MEMBER}`)
  expect(await command(session, 'cancel', id)).toBe(true)
  await db.admin.query(`revoke ${OWNER} from ${MEMBER}`)
  await command(bob, 'retry', id)
  expect(await command(session, 'cancel', id)).toBe(false)
})

test('answers false for an unknown id', async () => {
  expect(await command(db.owner, 'cancel', 1n)).toBe(false)
  expect(await command(db.owner, 'retry', 1n)).toBe(false)
})

test('asks for the cancel of a running task, wakes supervisors, and hands them the request', async () => {
  const listener = await db.session()
  const payloads: string[] = []
  listener.onNotification((payload) => payloads.push(payload))
  await listener.query('listen background_queue')
  const id = await enqueue(db.owner)
  await worker.take()
  expect(await command(db.owner, 'cancel', id)).toBe(true)
  expect(await command(db.owner, 'cancel', id)).toBe(true)
  await waitFor('the notification', () => payloads.includes('cancel'))
  const taken = await db.owner.query('select * from background_queue.take_cancel_requests()')
  expect(taken).toEqual([{ task_id: id, worker_id: worker.id, requested_by: 'pgbq_owner' }])
  expect((await findTask(db, id)).state).toBe('running')
})

test('drops a request when its task is closed, and cancels at once what waits by then', async () => {
  const finished = await enqueue(db.owner)
  const retrying = await enqueue(db.owner, 'select 1', null, { max_retries: 1 })
  const claims = [await worker.take(), await worker.take()]
  for (const id of [finished, retrying]) await command(db.owner, 'cancel', id)
  await worker.finish(claims[0]!)
  await worker.fail(claims[1]!)
  expect(await db.owner.query('select * from background_queue.take_cancel_requests()')).toEqual([])
  expect((await findTask(db, finished)).state).toBe('finished')
  expect((await findTask(db, retrying)).state).toBe('cancelled')
  expect(await requests()).toEqual([])
})

test('does not let the open transaction of a cancel hold up the end of a run', async () => {
  const id = await enqueue(db.owner)
  const claim = await worker.take()
  await db.owner.query('begin')
  expect(await command(db.owner, 'cancel', id)).toBe(true)
  await worker.finish(claim)
  await db.owner.query('commit')
  expect((await findTask(db, id)).state).toBe('finished')
})

test('does not let the cancel of a stranger lock a task', async () => {
  const id = await enqueue(db.owner)
  await alice.query('begin')
  expect(await command(alice, 'cancel', id)).toBe(false)
  const claim = await worker.take()
  expect(await command(alice, 'retry', id)).toBe(false)
  await worker.finish(claim)
  await alice.query('rollback')
})

test('asks for the cancel of a task that is just being claimed, and lets its run end', async () => {
  const id = await enqueue(db.owner)
  const canceller = await db.session()
  const pid = await pidOf(canceller)
  await worker.session.query('begin')
  const claim = await worker.take()
  await canceller.query('begin')
  const cancelled = command(canceller, 'cancel', id)
  await waitsForLock(db, pid)
  await worker.session.query('commit')
  expect(await cancelled).toBe(true)
  await worker.finish(claim)
  await canceller.query('commit')
  expect((await findTask(db, id)).state).toBe('finished')
})

test('claims another task while the cancel of the first in line is not committed', async () => {
  const first = await enqueue(db.owner, 'select 1', null, { priority: 1 })
  const second = await enqueue(db.owner, 'select 2', null, { priority: 2 })
  await db.owner.query('begin')
  await command(db.owner, 'cancel', first)
  expect((await worker.claim()).task_id).toBe(second)
  await db.owner.query('rollback')
  expect((await worker.claim()).task_id).toBe(first)
})

test('keeps a claimer from spinning while the only task is held by a cancel that is not committed', async () => {
  const id = await enqueue(db.owner)
  await db.owner.query('begin')
  await command(db.owner, 'cancel', id)
  const { task_id, wait_ms } = await worker.claim()
  expect(task_id).toBeNull()
  expect(wait_ms).toBeGreaterThan(0)
  await db.owner.query('rollback')
})

test('makes a finish wait for a request to end that is being delivered, and then refuses it', async () => {
  const id = await enqueue(db.owner)
  const claim = await worker.take()
  await db.owner.query('begin')
  const { found } = await db.owner.one(
    `select background_queue.request_end($1, $2, $3, 'cancel', current_user) as found`,
    [id, worker.id, claim.token],
  )
  expect(found).toBe(true)
  const finish = failure(worker.finish(claim))
  await waitsForLock(db, worker.pid)
  await db.owner.query('commit')
  expect((await finish).sqlstate).toBe('PQ002')
  expect(await worker.fail(claim)).toBe('cancelled')
  expect(await requests()).toEqual([])
})

test('says that it is too late to end an attempt whose finish came first', async () => {
  const id = await enqueue(db.owner)
  const claim = await worker.take()
  await worker.session.query('begin')
  await worker.finish(claim)
  const pid = await pidOf(db.owner)
  const asked = db.owner.one(
    `select background_queue.request_end($1, $2, $3, 'cancel', current_user) as found`,
    [id, worker.id, claim.token],
  )
  await waitsForLock(db, pid)
  await worker.session.query('commit')
  expect(await asked).toEqual({ found: false })
})
