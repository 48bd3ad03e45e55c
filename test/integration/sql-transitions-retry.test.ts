import { beforeEach, expect, test } from 'vitest'
import { useDatabase } from '../support/database.js'
import {
  emptyQueueBeforeEach,
  enqueue,
  failure,
  findTask,
  type SqlWorker,
  setParameter,
  startWorker,
} from './sql-support.js'

const db = useDatabase()
emptyQueueBeforeEach(db)

let worker: SqlWorker
beforeEach(async () => {
  worker = await startWorker(db)
})

const makeDue = () => db.owner.query('update pg_background_tasks set run_at = now()')

/** Seconds from the end of the last attempt to the time the task is due. */
async function wait(id: bigint): Promise<number> {
  const row = await db.owner.one<{ sec: number }>(
    `select round(extract(epoch from t.run_at - max(a.ended_at)))::integer as sec
     from pg_background_tasks t join background_queue.attempts a on a.task_id = t.id where t.id = $1 group by t.run_at`,
    [id],
  )
  return row.sec
}

test('waits 2, 4, 8, 16 seconds and so on before retries, at most retry_max_delay_in_sec', async () => {
  await setParameter(db.owner, '', 'retry_max_delay_in_sec', '20')
  const id = await enqueue(db.owner, 'select 1', null, { max_retries: 6 })
  for (const [n, delay] of [2, 4, 8, 16, 20, 20].entries()) {
    expect(await worker.fail(await worker.take())).toBe('retrying')
    expect(await findTask(db, id)).toMatchObject({
      retry_count: n + 1,
      retry_delay_in_sec: delay,
      closed_at: null,
    })
    expect(await wait(id)).toBe(delay)
    const { task_id, wait_ms } = await worker.claim()
    expect(task_id).toBeNull()
    expect(wait_ms).toBeGreaterThan(delay * 1000 - 1000)
    expect(wait_ms).toBeLessThanOrEqual(delay * 1000)
    await makeDue()
  }
  expect(await worker.fail(await worker.take())).toBe('failed')
  expect(await findTask(db, id)).toMatchObject({ state: 'failed', retry_count: 6 })
})

test('waits no longer than the cap on the thousandth retry', async () => {
  const id = await enqueue(db.owner, 'select 1', null, { max_retries: 1000 })
  await db.owner.query('update pg_background_tasks set retry_count = 999')
  expect(await worker.fail(await worker.take())).toBe('retrying')
  expect(await findTask(db, id)).toMatchObject({ retry_count: 1000, retry_delay_in_sec: 86400 })
})

test("takes the number of retries from the task's option, its topic, the queue, in this order", async () => {
  await setParameter(db.owner, '', 'retry_count', '1')
  await setParameter(db.owner, '/a', 'retry_count', '0')
  for (const [topic, options, state] of [
    [null, null, 'retrying'],
    ['a', null, 'failed'],
    ['a', { max_retries: 1 }, 'retrying'],
    [null, { max_retries: 0 }, 'failed'],
  ] as const) {
    await enqueue(db.owner, 'select 1', topic, options)
    expect(await worker.fail(await worker.take())).toBe(state)
  }
})

test('does not retry what is final', async () => {
  await enqueue(db.owner, 'select 1', null, { max_retries: 5 })
  expect(await worker.fail(await worker.take(), { message: 'COMMIT is refused', final: true })).toBe('failed')
})

test('keeps of every attempt its error, whole', async () => {
  const id = await enqueue(db.owner, 'select 1', null, { max_retries: 1 })
  const long = `é${'🐘'.repeat(5000)}`
  const first = {
    sqlstate: '23505',
    message: long,
    detail: 'Key (a)=(1) already exists.',
    hint: 'Take another.',
    context: 'PL/pgSQL function f() line 3',
    position: 8,
  }
  await worker.fail(await worker.take(), first)
  const { errors } = await findTask(db, id)
  expect(errors).toBe(
    `ERROR 23505: ${long}\nDETAIL: ${first.detail}\nHINT: ${first.hint}\nCONTEXT: ${first.context}\nPOSITION: 8`,
  )
  await makeDue()
  await worker.fail(await worker.take(), { sqlstate: '22012', message: 'division by zero' })
  const attempts = await db.owner.query('select * from background_queue.attempts order by id')
  expect(attempts).toMatchObject([
    { ...first, task_id: id, outcome: 'retrying', host: 'test', worker_pid: 1, backend_pid: worker.pid },
    { task_id: id, outcome: 'failed', sqlstate: '22012', message: 'division by zero', detail: null },
  ])
  expect((await findTask(db, id)).errors).toBe('ERROR 22012: division by zero')
})

test('keeps started_at of the last attempt while retrying and failed, and the end as closed_at', async () => {
  const id = await enqueue(db.owner, 'select 1', null, { max_retries: 1 })
  const claim = await worker.take()
  const { started_at } = await findTask(db, id)
  await worker.fail(claim)
  expect(await findTask(db, id)).toMatchObject({ started_at, closed_at: null })
  await makeDue()
  const second = await worker.take()
  const { started_at: again } = await findTask(db, id)
  expect(again > started_at).toBe(true)
  await worker.fail(second)
  const task = await findTask(db, id)
  expect(task.started_at).toBe(again)
  expect(task.closed_at > again).toBe(true)
})

test('gives a released task back pending, with no retry spent and an attempt kept', async () => {
  const id = await enqueue(db.owner, 'select 1', null, { max_retries: 1 })
  const { token } = await worker.take()
  const { state } = await worker.session.one(`select background_queue.release($1, $2, 'Shutdown') as state`, [
    id,
    token,
  ])
  expect(state).toBe('pending')
  expect(await findTask(db, id)).toMatchObject({ started_at: null, retry_count: 0, errors: null, rescues: 0 })
  const attempts = await db.owner.query('select outcome, message from background_queue.attempts')
  expect(attempts).toEqual([{ outcome: 'released', message: 'Shutdown' }])
  expect((await worker.take()).attempt).toBe(1)
})

test('starts the attempts of a task that is retried by hand again, and keeps what is known of the old', async () => {
  const id = await enqueue(db.owner, 'select 1', null, { max_retries: 1 })
  await worker.fail(await worker.take())
  await makeDue()
  await worker.fail(await worker.take())
  await db.owner.query('select pg_background_retry($1)', [id])
  expect(await findTask(db, id)).toMatchObject({
    state: 'pending',
    retry_count: 0,
    retry_delay_in_sec: 0,
    worker_deaths: 0,
    errors: null,
  })
  expect(await db.owner.query('select from background_queue.attempts')).toHaveLength(2)
  expect(await worker.take()).toMatchObject({ task_id: id, attempt: 1 })
})

test('does not retry by hand a task whose key another has', async () => {
  const first = await enqueue(db.owner, 'select 1', null, { unique_key: 'k' })
  await worker.fail(await worker.take())
  const second = await enqueue(db.owner, 'select 1', null, { unique_key: 'k' })
  const refused = await failure(db.owner.query('select pg_background_retry($1)', [first]))
  expect(refused).toMatchObject({
    sqlstate: 'PQ013',
    message: `Task ${first} cannot be retried: task ${second} has its unique key`,
  })
})

test('times out by the option, the topic or the queue, and says after how long', async () => {
  await setParameter(db.owner, '', 'timeout_in_sec', '9')
  await setParameter(db.owner, '/a', 'timeout_in_sec', '2.5')
  await enqueue(db.owner)
  await enqueue(db.owner, 'select 1', 'a')
  await enqueue(db.owner, 'select 1', 'a', { timeout_in_sec: 1 })
  await enqueue(db.owner, 'select 1', 'a', { timeout_in_sec: 0 })
  const claims = [await worker.take(), await worker.take(), await worker.take(), await worker.take()]
  expect(claims.map((claim) => claim.timeout_in_sec)).toEqual([9, 2.5, 1, null])
  await db.owner.query(`update pg_background_tasks set end_requested = 'timeout'`)
  await worker.fail(claims[1]!)
  expect((await findTask(db, claims[1]!.task_id!)).errors).toBe('ERROR 57014: Timed out after 2.5 s')
})
