import { hostname } from 'node:os'
import { afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import type { Database } from '../../src/engine/database/database.js'
import { ensureWorkers } from '../../src/engine/ensure-workers.js'
import { install } from '../../src/engine/migrator.js'
import { useDatabase } from '../support/database.js'
import {
  emptyQueueBeforeEach,
  enqueue,
  findTask,
  killWorker,
  registerSupervisor,
  startWorker,
  useRole,
} from './sql-support.js'

/** What an enqueuer's transaction holds while it stays open: nobody else may have to wait for it. */

const db = useDatabase()
const MALLORY = useRole(db, 'mallory')
emptyQueueBeforeEach(db)

let mallory: Database
let asking: Database
let supervisorId: bigint
beforeAll(async () => {
  await db.owner.query('select background_queue.grant_enqueue($1)', [MALLORY])
  mallory = await db.session(MALLORY)
  asking = await db.session(MALLORY)
})
afterEach(async () => {
  await mallory.query('rollback')
  await asking.query('rollback')
})
beforeEach(async () => {
  supervisorId = await registerSupervisor(db.owner)
})

/** A supervisor's round, which may wait for nobody. */
async function tick(): Promise<{ is_registered: boolean; rescued: bigint[] }> {
  await db.owner.query(`set lock_timeout = '2s'`)
  try {
    return await db.owner.one('select * from background_queue.tick($1, true, $2)', [supervisorId, []])
  } finally {
    await db.owner.query('reset lock_timeout')
  }
}

const RECOUNTS = ['pg_background_queue_calibrate_workers_count()', 'pg_background_queue_ensure_workers()']

test.each(RECOUNTS)(
  "rescues another role's task while %s stays open in an enqueuer's transaction",
  async (call) => {
    const id = await enqueue(db.owner)
    const worker = await startWorker(db, { supervisorId })
    await worker.take()
    await killWorker(db, worker)
    await db.owner.query('update background_queue.workers set supervisor_id = 0')
    await mallory.query(`begin; select ${call}`)
    expect((await tick()).rescued).toEqual([id])
    expect((await findTask(db, id)).state).toBe('pending')
  },
)

test.each(RECOUNTS)(
  'buries a dead supervisor and its worker beside an open %s of an enqueuer',
  async (call) => {
    const dead = await db.session()
    await registerSupervisor(dead)
    const worker = await startWorker(db, { supervisorId: 0n })
    await killWorker(db, worker)
    await dead.close()
    await mallory.query(`begin; select ${call}`)
    await tick()
    expect(await db.owner.query('select id from background_queue.supervisors')).toEqual([
      { id: supervisorId },
    ])
    expect(await db.owner.query('select from background_queue.workers')).toEqual([])
  },
)

test('counts for an enqueuer only what runs in a backend that is there', async () => {
  await enqueue(db.owner)
  await enqueue(db.owner)
  const [dead, alive] = [await startWorker(db, { supervisorId }), await startWorker(db, { supervisorId })]
  await dead.take()
  await alive.take()
  await killWorker(db, dead)
  const counted = await mallory.one(`select ${RECOUNTS[0]} as count`)
  expect(counted).toEqual({ count: 1 })
})

test('goes on while an enqueuer holds a waiting task whose end was asked for', async () => {
  const id = await enqueue(mallory, 'select 1', null, { max_retries: 1 })
  const worker = await startWorker(db, { role: MALLORY, supervisorId })
  const claim = await worker.take()
  await asking.query('begin')
  await asking.query('select pg_background_cancel($1)', [id])
  await worker.fail(claim)
  await mallory.query('begin')
  await mallory.query('select pg_background_cancel($1)', [id])
  await asking.query('commit')
  await tick()
  await mallory.query('rollback')
  await tick()
  expect((await findTask(db, id)).state).toBe('cancelled')
})

test('goes on while an enqueuer takes back a request for the end of a task', async () => {
  const id = await enqueue(mallory)
  const worker = await startWorker(db, { role: MALLORY, supervisorId })
  const claim = await worker.take()
  await asking.query('begin')
  await asking.query('select pg_background_cancel($1)', [id])
  await worker.fail(claim)
  await asking.query('commit')
  await mallory.query('begin')
  await mallory.query('select pg_background_retry($1)', [id])
  await tick()
  await mallory.query('commit')
  await tick()
  expect((await findTask(db, id)).state).toBe('pending')
})

test('gives an install up, and passes by in ensure-workers, whatever advisory locks another role holds', async () => {
  await mallory.query(
    `select pg_advisory_lock(hashtext('background_queue.install')),
    pg_advisory_lock(hashtext($1))`,
    [`background_queue.ensure ${hostname()}`],
  )
  try {
    await expect(install(db.owner, { patienceMs: 100 })).rejects.toMatchObject({ code: 'LOCKED' })
    const target = db.target()
    const options = { target, program: '', workArguments: [], logFile: '', turnWithinMs: 100 }
    expect(await ensureWorkers(db.owner, options)).toMatchObject({ due: 0n, started: 0 })
    expect(await db.owner.one('show lock_timeout')).toEqual({ lock_timeout: '0' })
  } finally {
    await mallory.query('select pg_advisory_unlock_all()')
  }
})
