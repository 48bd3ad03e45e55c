import { beforeAll, beforeEach, expect, test } from 'vitest'
import type { Database } from '../../src/engine/database/database.js'
import { useDatabase } from '../support/database.js'
import { ALICE } from '../support/names.js'
import {
  emptyQueueBeforeEach,
  enqueue,
  failure,
  findTask,
  killWorker,
  registerSupervisor,
  type SqlWorker,
  setParameter,
  startWorker,
  waitsForLock,
} from './sql-support.js'

const db = useDatabase()
emptyQueueBeforeEach(db)
beforeAll(async () => {
  await db.owner.query('create table effects (n integer)')
  await db.owner.query('select background_queue.grant_enqueue($1)', [ALICE])
})

let supervisorId: bigint
let worker: SqlWorker
beforeEach(async () => {
  await db.owner.query('truncate effects')
  supervisorId = await registerSupervisor(db.owner)
  worker = await startWorker(db, { supervisorId })
})

async function bury(w: SqlWorker, isDeath = true, by: Database = db.owner): Promise<bigint[] | null> {
  const row = await by.one<{ ids: bigint[] | null }>(
    `select background_queue.bury_worker($1, $2, 'Worker 7 was killed by SIGKILL') as ids`,
    [w.id, isDeath],
  )
  return row.ids
}

const workers = () => db.owner.query('select id from background_queue.workers')

test('does not rescue a task while its backend is there', async () => {
  const id = await enqueue(db.owner)
  await worker.take()
  expect(await bury(worker)).toBeNull()
  const rescued = await db.owner.query(`select background_queue.rescue($1, true, 'x') as id`, [worker.id])
  expect(rescued).toEqual([])
  await db.owner.query(`update background_queue.supervisors set seen_at = now() - interval '1 day'`)
  await db.owner.query('select background_queue.calibrate()')
  expect(await findTask(db, id)).toMatchObject({ rescues: 0 })
})

test('rescues a task once its backend is gone, with no retry spent', async () => {
  const id = await enqueue(db.owner, 'select 1', null, { max_retries: 1 })
  await worker.take()
  await killWorker(db, worker)
  expect(await bury(worker)).toEqual([id])
  expect(await findTask(db, id)).toMatchObject({
    state: 'pending',
    started_at: null,
    retry_count: 0,
    errors: null,
    rescues: 1,
    worker_deaths: 1,
    token_hash: null,
  })
  const attempts = await db.owner.query('select outcome, message, backend_pid from background_queue.attempts')
  expect(attempts).toEqual([
    { outcome: 'rescued', message: 'Worker 7 was killed by SIGKILL', backend_pid: worker.pid },
  ])
  expect(await workers()).toEqual([])
  expect(await bury(worker)).toEqual([])
})

test.each([
  ['the server was started anew', `server_started_at = server_started_at - interval '1 hour'`],
  ['nobody bears its pid', 'backend_pid = 1'],
  ['another role bears its pid', `role_oid = 'pgbq_alice'::regrole`],
  ['a later backend bears its pid', `backend_started_at = backend_started_at - interval '1 s'`],
])('takes a backend for gone when %s', async (_, change) => {
  const gone = async () =>
    (await db.owner.one('select background_queue.worker_is_gone($1) as gone', [worker.id])).gone
  expect(await gone()).toBe(false)
  await db.owner.query(`update background_queue.workers set ${change}`)
  expect(await gone()).toBe(true)
})

test('takes a backend whose start it may not read for alive', async () => {
  const alice = await startWorker(db, { role: ALICE, supervisorId })
  const [seen] = await db.owner.query('select backend_start from pg_stat_activity where pid = $1', [
    alice.pid,
  ])
  expect(seen).toEqual({ backend_start: null })
  expect(await bury(alice)).toBeNull()
  await killWorker(db, alice)
  expect(await bury(alice)).toEqual([])
})

test('takes a backend in another database for gone', async () => {
  await db.owner.query('update background_queue.workers set backend_pid = $1', [
    (
      await db.admin.one<{ pid: number }>(
        `select pid from pg_stat_activity where backend_type = 'checkpointer'`,
      )
    ).pid,
  ])
  expect(await bury(worker)).toEqual([])
})

test('leaves a row alone that somebody holds, and keeps the dead worker until it is rescued', async () => {
  const id = await enqueue(db.owner)
  await worker.take()
  await killWorker(db, worker)
  const other = await db.session()
  await other.query('begin')
  await other.query('select from pg_background_tasks where id = $1 for update', [id])
  expect(await bury(worker)).toEqual([])
  expect(await workers()).toEqual([{ id: worker.id }])
  await other.query('rollback')
  expect(await bury(worker)).toEqual([id])
  expect(await workers()).toEqual([])
})

test('fails a task that killed its worker max_worker_deaths times', async () => {
  const id = await enqueue(db.owner, 'select 1', null, { max_retries: 5 })
  for (let death = 1; death <= 3; death++) {
    const w = await startWorker(db, { supervisorId })
    await w.take()
    await killWorker(db, w)
    await bury(w)
    expect(await findTask(db, id)).toMatchObject({
      worker_deaths: death,
      state: death < 3 ? 'pending' : 'failed',
    })
  }
  expect((await findTask(db, id)).errors).toBe(
    'The task killed its worker 3 times; the last: Worker 7 was killed by SIGKILL',
  )
})

test.each([
  ['its supervisor or host died with it', false, null, '3'],
  ['a release was asked for', true, 'release', '3'],
  ['max_worker_deaths is 0', true, null, '0'],
])('never fails a task for dead workers when %s', async (_, isDeath, requested, limit) => {
  await setParameter(db.owner, '', 'max_worker_deaths', limit)
  const id = await enqueue(db.owner)
  for (let death = 1; death <= 4; death++) {
    const w = await startWorker(db, { supervisorId })
    await w.take()
    await db.owner.query('update pg_background_tasks set end_requested = $1', [requested])
    await killWorker(db, w)
    await bury(w, isDeath)
    expect(await findTask(db, id)).toMatchObject({ state: 'pending', rescues: death })
  }
  if (limit !== '0') expect((await findTask(db, id)).worker_deaths).toBe(0)
})

test.each([
  ['cancel', 'cancelled'],
  ['timeout', 'failed'],
])('ends a task as asked when its worker died after a %s was requested', async (reason, state) => {
  const id = await enqueue(db.owner, 'select 1', null, { timeout_in_sec: 1 })
  await worker.take()
  await db.owner.query('update pg_background_tasks set end_requested = $1', [reason])
  await killWorker(db, worker)
  await bury(worker)
  expect((await findTask(db, id)).state).toBe(state)
})

test('buries the workers of a supervisor that is gone, and lets the living ones run on', async () => {
  const control = await db.session()
  const goneId = await registerSupervisor(control)
  const living = await startWorker(db, { supervisorId: goneId })
  const dying = await startWorker(db, { supervisorId: goneId })
  const first = await enqueue(db.owner)
  const second = await enqueue(db.owner)
  const claim = await living.take()
  await dying.take()
  await control.close()
  await killWorker(db, dying)
  const orphans = `select rescued, pruned from background_queue.rescue_orphans('1 h')`
  expect(await db.owner.one(orphans)).toEqual({ rescued: [second], pruned: 1 })
  await living.finish(claim)
  expect((await findTask(db, first)).state).toBe('finished')
})

test('rescues by calibrate and by tick alike, and counts', async () => {
  await enqueue(db.owner)
  await enqueue(db.owner)
  await worker.take()
  await killWorker(db, worker)
  await db.owner.query('update background_queue.workers set supervisor_id = 0')
  const [calibrated] = await db.owner.query('select * from background_queue.calibrate()')
  expect(calibrated).toMatchObject({ before: 1, after: 0, pruned: 1 })
  expect(calibrated!.rescued).toHaveLength(1)
  const second = await startWorker(db, { supervisorId: 0n })
  await second.take()
  await killWorker(db, second)
  const tick = await db.owner.one(`select rescued from background_queue.tick($1, true, '{}')`, [supervisorId])
  expect(tick.rescued).toHaveLength(1)
})

test('hands the workers of a supervisor that lost its connection to its new row', async () => {
  const { id } = await db.owner.one(
    `select background_queue.register_supervisor('test', 1, '0', 4, null, $1) as id`,
    [supervisorId],
  )
  const [row] = await db.owner.query('select supervisor_id from background_queue.workers')
  expect(row).toEqual({ supervisor_id: id })
  expect(await db.owner.query('select id from background_queue.supervisors')).toEqual([{ id }])
})

test('rescues a row that says running and that nobody claimed', async () => {
  await db.owner.query(
    `insert into pg_background_tasks (sql_statement, state, started_at) values ('select 1', 'running', now())`,
  )
  await db.owner.query('select background_queue.calibrate()')
  expect(await db.owner.query('select state, worker_deaths from pg_background_tasks')).toEqual([
    { state: 'pending', worker_deaths: 0 },
  ])
})

const LEVELS = ['read committed', 'repeatable read', 'serializable']

/** A claimed task, the effect of its SQL not yet committed, and a worker that is wrongly taken for gone. */
async function raceAt(level: string) {
  const id = await enqueue(db.owner)
  const claim = await worker.take()
  await worker.session.query(`begin isolation level ${level}; insert into effects values (1)`)
  await db.owner.query('update background_queue.workers set backend_pid = 1')
  return { id, claim }
}

test.each(LEVELS)('keeps a finish under %s that came before the rescue', async (level) => {
  const { id, claim } = await raceAt(level)
  await worker.finish(claim)
  expect(await bury(worker)).toEqual([])
  await worker.session.query('commit')
  expect(await bury(worker)).toEqual([])
  expect((await findTask(db, id)).state).toBe('finished')
  expect(await db.owner.query('select from effects')).toHaveLength(1)
})

test.each(LEVELS)('undoes a task under %s whose finish waited for its rescue', async (level) => {
  const { id, claim } = await raceAt(level)
  const rescuer = await db.session()
  await rescuer.query('begin')
  expect(await bury(worker, true, rescuer)).toEqual([id])
  const finish = failure(worker.finish(claim))
  await waitsForLock(db, worker.pid)
  await rescuer.query('commit')
  expect((await finish).sqlstate).toBe(level === 'read committed' ? 'PQ001' : '40001')
  await worker.session.query('commit')
  expect((await findTask(db, id)).state).toBe('pending')
  expect(await db.owner.query('select from effects')).toEqual([])
})

test.each(LEVELS)('undoes a task under %s whose finish came after its rescue', async (level) => {
  const { id, claim } = await raceAt(level)
  await bury(worker)
  expect((await failure(worker.finish(claim))).sqlstate).toBe(level === 'read committed' ? 'PQ001' : '40001')
  await worker.session.query('commit')
  expect((await findTask(db, id)).state).toBe('pending')
  expect(await db.owner.query('select from effects')).toEqual([])
})

test('refuses the finish of an attempt whose task another worker has by now', async () => {
  const { id, claim } = await raceAt('read committed')
  await bury(worker)
  const second = await startWorker(db, { supervisorId })
  const again = await second.take()
  expect((await failure(worker.finish(claim))).sqlstate).toBe('PQ001')
  await worker.session.query('commit')
  await second.finish(again)
  expect((await findTask(db, id)).state).toBe('finished')
  expect(await db.owner.query('select from effects')).toEqual([])
})
