import { beforeEach, describe, expect, test } from 'vitest'
import { useDatabase } from '../support/database.js'
import {
  type Claim,
  emptyQueueBeforeEach,
  enqueue,
  failure,
  findTask,
  type SqlWorker,
  startWorker,
} from './sql-support.js'

const db = useDatabase()
emptyQueueBeforeEach(db)

let worker: SqlWorker
beforeEach(async () => {
  worker = await startWorker(db)
})

const STATES = ['pending', 'running', 'retrying', 'failed', 'finished', 'cancelled'] as const
type State = (typeof STATES)[number]

/** A task brought into a state by the functions alone, and the claim it has or had. */
async function taskIn(state: State): Promise<Claim & { id: bigint }> {
  const id = await enqueue(db.owner, 'select 1', null, { max_retries: state === 'retrying' ? 1 : 0 })
  if (state === 'pending' || state === 'cancelled') {
    if (state === 'cancelled') await db.owner.query('select pg_background_cancel($1)', [id])
    return { id, token: '' } as Claim & { id: bigint }
  }
  const claim = await worker.take()
  if (state === 'finished') await worker.finish(claim)
  else if (state !== 'running') await worker.fail(claim)
  return { ...claim, id }
}

/** All that a refused change must leave alone. */
async function everything(): Promise<unknown> {
  return {
    tasks: await db.owner.query('select * from pg_background_tasks order by id'),
    attempts: await db.owner.query('select * from background_queue.attempts order by id'),
    cooling: await db.owner.query('select * from background_queue.cooling'),
  }
}

const ENDS: Record<string, (id: bigint, token: string | null) => Promise<unknown>> = {
  finish: (id, token) => worker.session.query(`select background_queue.finish($1, $2, 1, 'X')`, [id, token]),
  step: (id, token) => worker.session.query('select background_queue.step($1, $2, 1)', [id, token]),
  restart: (id, token) => worker.session.query('select background_queue.restart($1, $2)', [id, token]),
  fail: (id, token) => worker.session.query(`select background_queue.fail($1, $2, '{}')`, [id, token]),
  release: (id, token) => worker.session.query(`select background_queue.release($1, $2, 'x')`, [id, token]),
}

describe.each(STATES)('a task that is %s', (state) => {
  if (state !== 'running') {
    test.each(Object.keys(ENDS))('is not changed by %s with the token of its last claim', async (name) => {
      const { id, token } = await taskIn(state)
      const before = await everything()
      const refused = await failure(ENDS[name]!(id, token))
      expect(refused).toMatchObject({ sqlstate: 'PQ001', message: `The claim on task ${id} was lost` })
      expect(await everything()).toEqual(before)
    })

    test('cannot be asked to end', async () => {
      const { id, token } = await taskIn(state)
      const before = await everything()
      const asked = await db.owner.one(
        `select background_queue.request_end($1, $2, null, 'cancel', 'pgbq_owner') as first,
          background_queue.request_end($1, $2, $3, 'cancel', 'pgbq_owner') as second`,
        [id, worker.id, token],
      )
      expect(asked).toEqual({ first: false, second: false })
      expect(await everything()).toEqual(before)
    })
  } else {
    test.each(Object.keys(ENDS))('is not changed by %s with a wrong token', async (name) => {
      const { id } = await taskIn(state)
      const before = await everything()
      for (const token of ['', 'guess', '00000000-0000-0000-0000-000000000000']) {
        expect((await failure(ENDS[name]!(id, token))).sqlstate).toBe('PQ001')
      }
      expect((await failure(ENDS[name]!(id, null as never))).sqlstate).toBe('PQ001')
      expect(await everything()).toEqual(before)
    })
  }

  const isWaiting = state === 'pending' || state === 'retrying'
  test(`can${isWaiting || state === 'running' ? '' : 'not'} be cancelled`, async () => {
    const { id } = await taskIn(state)
    const before = await findTask(db, id)
    const { done } = await db.owner.one('select pg_background_cancel($1) as done', [id])
    const after = await findTask(db, id)
    if (!isWaiting) expect(after).toEqual(before)
    else expect(after).toMatchObject({ state: 'cancelled', errors: 'Cancelled by pgbq_owner before it ran' })
    expect(done).toBe(isWaiting || state === 'running')
  })

  const isRetriable = state === 'failed' || state === 'cancelled'
  test(`can${isRetriable ? '' : 'not'} be retried by hand`, async () => {
    const { id } = await taskIn(state)
    const before = await findTask(db, id)
    const { done } = await db.owner.one('select pg_background_retry($1) as done', [id])
    const after = await findTask(db, id)
    expect(done).toBe(isRetriable)
    if (!isRetriable) expect(after).toEqual(before)
    else expect(after).toMatchObject({ state: 'pending', started_at: null, closed_at: null, errors: null })
  })

  const isClaimable = state === 'pending' || state === 'retrying'
  test(`is ${isClaimable ? '' : 'not '}claimed when its time has come`, async () => {
    const { id } = await taskIn(state)
    await db.owner.query('update pg_background_tasks set run_at = now()')
    expect((await worker.claim()).task_id).toBe(isClaimable ? id : null)
  })
})

test('gives a claim its token, and the row only the hash', async () => {
  const { id, token } = await taskIn('running')
  const row = await db.owner.one(
    `select token_hash = sha256(convert_to($2, 'UTF8')) as fits, t::text like '%' || $2 || '%' as shown
     from pg_background_tasks t where id = $1`,
    [id, token],
  )
  expect(row).toEqual({ fits: true, shown: false })
})

test('finishes with the rows and the command, and clears what an earlier attempt left', async () => {
  const { id } = await taskIn('retrying')
  await db.owner.query('update pg_background_tasks set run_at = now()')
  const claim = await worker.take()
  expect(claim).toMatchObject({ task_id: id, attempt: 2 })
  expect(await findTask(db, id)).toMatchObject({ state: 'running', errors: null })
  await worker.finish(claim)
  expect(await findTask(db, id)).toMatchObject({
    state: 'finished',
    errors: null,
    rows_affected: 1n,
    command_tag: 'SELECT',
    retry_count: 1,
    token_hash: null,
    worker_id: null,
  })
})

test.each(Object.keys(ENDS))('does not %s what runs without its token', async (name) => {
  const { id } = await taskIn('running')
  const before = await everything()
  for (const token of ['guess', '', null])
    expect((await failure(ENDS[name]!(id, token))).sqlstate).toBe('PQ001')
  expect(await everything()).toEqual(before)
})

test("rolls a task's effects back when its claim was lost", async () => {
  await db.owner.query('create table effects (n integer)')
  const { id } = await taskIn('running')
  await worker.session.query('begin; insert into effects values (1)')
  expect((await failure(ENDS.finish!(id, 'guess'))).sqlstate).toBe('PQ001')
  await worker.session.query('commit')
  expect(await db.owner.query('select from effects')).toEqual([])
})

test('does not finish a task whose end was requested, and ends it as requested', async () => {
  const { id, token } = await taskIn('running')
  await db.owner.query(`select background_queue.request_end($1, $2, $3, 'cancel', 'pgbq_bob')`, [
    id,
    worker.id,
    token,
  ])
  const refused = await failure(ENDS.finish!(id, token))
  expect(refused).toMatchObject({ sqlstate: 'PQ002', message: `The end of task ${id} was requested` })
  expect(await worker.fail({ task_id: id, token } as Claim)).toBe('cancelled')
  expect(await findTask(db, id)).toMatchObject({
    state: 'cancelled',
    errors: 'Cancelled by pgbq_bob while it ran',
    end_requested: null,
  })
})

test.each([
  ['cancel', 'cancelled', 'Cancelled by pgbq_owner while it ran'],
  ['timeout', 'failed', 'ERROR 57014: Timed out after 5 s'],
  ['release', 'pending', null],
])('ends by fail or release alike when the %s was requested', async (reason, state, errors) => {
  for (const end of ['fail', 'release']) {
    const id = await enqueue(db.owner, 'select 1', null, { timeout_in_sec: 5 })
    const claim = await worker.take()
    await db.owner.query('select background_queue.request_end($1, $2, null, $3, current_user)', [
      id,
      worker.id,
      reason,
    ])
    await ENDS[end]!(id, claim.token)
    expect(await findTask(db, id)).toMatchObject({ state, errors })
    await db.owner.query('truncate pg_background_tasks')
  }
})

test('asks only the attempt, the worker and the reason that were meant to end', async () => {
  const { id, token } = await taskIn('running')
  const ask = async (workerId: bigint, shown: string | null, reason: string) =>
    (
      await db.owner.one('select background_queue.request_end($1, $2, $3, $4, current_user) as found', [
        id,
        workerId,
        shown,
        reason,
      ])
    ).found
  expect(await ask(worker.id + 1n, null, 'cancel')).toBe(false)
  expect(await ask(worker.id, 'guess', 'cancel')).toBe(false)
  expect(await ask(worker.id, token, 'release')).toBe(true)
  expect(await ask(worker.id, token, 'timeout')).toBe(true)
  expect(await ask(worker.id, token, 'cancel')).toBe(false)
  expect((await findTask(db, id)).end_requested).toBe('timeout')
})

test('counts statements that are done one by one, and begins anew with a note', async () => {
  const { id, token } = await taskIn('running')
  const step = (n: number) => worker.session.query('select background_queue.step($1, $2, $3)', [id, token, n])
  await step(1)
  await step(2)
  expect((await failure(step(2))).message).toBe(`Statement 2 of task ${id} is done, so 2 cannot be`)
  expect((await failure(step(4))).sqlstate).toBe('PQ001')
  expect((await findTask(db, id)).statements_done).toBe(2)
  await worker.session.query('select background_queue.restart($1, $2)', [id, token])
  expect((await findTask(db, id)).statements_done).toBe(0)
  const [attempt] = await db.owner.query('select outcome, message from background_queue.attempts')
  expect(attempt!.message).toMatch('statements 1 to 2 left traces')
})
