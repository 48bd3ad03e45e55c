import { beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import { waitFor } from '../support/wait.js'
import { eventsOf, holderOf, sessions, stop, useQueue, workerPids } from './work-support.js'

const queue = useQueue()
const STUBBORN = `do $$ begin loop begin perform pg_sleep(0.1);
  exception when query_canceled then null; end; end loop; end $$`

beforeEach(async () => {
  await queue.db.owner.query('create table if not exists ledger (n integer); truncate ledger')
})
const cancel = async (id: bigint) =>
  (await queue.db.owner.one<{ done: boolean }>('select pg_background_cancel($1) as done', [id])).done
const passed = (task: { started_at: string | null; closed_at: string | null }) =>
  Date.parse(task.closed_at!) - Date.parse(task.started_at!)

describe('pg_background_cancel', () => {
  test('stops the statement of a running task, also of one that catches the cancel', async () => {
    const work = await queue.work(['--concurrency', '2'])
    const soft = await queue.enqueue('select pg_sleep(60)', { max_retries: 3 })
    const stubborn = await queue.enqueue(`insert into ledger values (1); ${STUBBORN}`, { max_retries: 3 })
    const held = [await holderOf(queue, soft), await holderOf(queue, stubborn)]
    const askedAt = performance.now()
    expect([await cancel(soft), await cancel(stubborn)]).toEqual([true, true])
    const task = await queue.reaches(soft, 'cancelled')
    process.stdout.write(`cancelled ${Math.round(performance.now() - askedAt)} ms after the request\n`)
    expect(task.errors).toMatch(/Cancelled by pgbq_owner while it ran/)
    await queue.reaches(stubborn, 'cancelled', 15_000)
    process.stdout.write(`one that catches cancels ${Math.round(performance.now() - askedAt)} ms after\n`)
    const backends = (await sessions(queue.db)).map((s) => s.pid)
    expect(backends).not.toContain(held[1]!.backend_pid)
    expect(backends).toContain(held[0]!.backend_pid)
    expect(await queue.count('select count(*) from ledger')).toBe(0)
    expect(await cancel(soft)).toBe(false)
    expect(await stop(work)).toBe(0)
  })

  test('frees a slot whose process is stopped by SIGSTOP', async () => {
    const work = await queue.work(['--concurrency', '1'])
    const id = await queue.enqueue('select pg_sleep(60)')
    const { pid } = await holderOf(queue, id)
    process.kill(pid, 'SIGSTOP')
    await cancel(id)
    await queue.reaches(id, 'cancelled', 15_000)
    const next = await queue.enqueue('select 1')
    await queue.reaches(next, 'finished')
    expect(workerPids(work)).toHaveLength(2)
    expect(await stop(work)).toBe(0)
  })

  test('in a transaction that stays open holds nothing up but that task', async () => {
    const work = await queue.work(['--concurrency', '2'])
    const id = await queue.enqueue('select pg_sleep(60)', { timeout_in_sec: 1 })
    await holderOf(queue, id)
    const session = await queue.db.session()
    onTestFinished(() => void session.query('rollback'))
    await session.query('begin')
    await session.query('select * from pg_background_tasks where id = $1 for update', [id])
    await waitFor(
      'its time-out to fall due and wait for the row',
      async () =>
        (
          await queue.db.admin.query(`select from pg_stat_activity where datname = current_database()
        and application_name like '%supervisor' and wait_event_type = 'Lock'`)
        ).length === 1,
    )
    const other = await queue.enqueue('select pg_sleep(60)')
    await holderOf(queue, other)
    await cancel(other)
    await queue.reaches(other, 'cancelled', 5000)
    await session.query('commit')
    expect((await queue.reaches(id, 'failed')).errors).toMatch(/Timed out/)
    expect(await stop(work)).toBe(0)
  })

  test('of a waiting task whose row a session holds does not make the supervisor spin', async () => {
    const work = await queue.work(['--concurrency', '1'])
    const session = await queue.db.session()
    onTestFinished(() => void session.query('rollback'))
    const id = await queue.enqueue('select 1', { run_at: new Date(Date.now() + 1000).toISOString() })
    await session.query('begin')
    await session.query('select pg_background_cancel($1)', [id])
    await queue.db.owner.query('select pg_sleep(1.5)')
    const calls = async () =>
      queue.count(
        `select xact_commit::bigint as count from pg_stat_database where datname = current_database()`,
      )
    const before = await calls()
    await queue.db.owner.query('select pg_sleep(2)')
    const made = (await calls()) - before
    process.stdout.write(`${made} transactions in 2 s beside a row that is held\n`)
    expect(made).toBeLessThan(100)
    await session.query('commit')
    await queue.reaches(id, 'cancelled')
    expect(await stop(work)).toBe(0)
  })

  test('never hits the next task', async () => {
    const work = await queue.work(['--concurrency', '4'])
    const ids: bigint[] = []
    const asked = new Set<bigint>()
    for (let round = 0; round < 60; round++) {
      const added = await queue.enqueueMany(
        Array.from(
          { length: 10 },
          (_, n) =>
            `insert into ledger select ${round * 10 + n} from pg_sleep(${(Math.random() * 0.05).toFixed(3)})`,
        ),
      )
      ids.push(...added)
      const aim = await queue.db.owner.query<{ id: bigint }>(
        `select id from pg_background_tasks where state = 'running'`,
      )
      for (const { id } of aim) {
        asked.add(id)
        await cancel(id)
      }
    }
    await waitFor(
      'all to end',
      async () =>
        (await queue.count(
          `select count(*) from pg_background_tasks where state in ('pending', 'running')`,
        )) === 0,
    )
    const rows = await queue.db.owner.query<{
      id: bigint
      state: string
      errors: string | null
      n: number | null
    }>(
      `select t.id, t.state::text, t.errors, l.n from pg_background_tasks t
       left join ledger l on l.n = substring(t.sql_statement from 'select (\\d+)')::integer`,
    )
    expect(rows).toHaveLength(ids.length)
    expect(rows.filter((r) => !['finished', 'cancelled'].includes(r.state))).toEqual([])
    expect(rows.filter((r) => r.state === 'cancelled' && r.n !== null)).toEqual([])
    expect(rows.filter((r) => r.state === 'finished' && r.n === null)).toEqual([])
    expect(rows.filter((r) => r.state === 'cancelled' && !asked.has(r.id))).toEqual([])
    const hit = rows.filter((r) => r.state === 'cancelled').length
    process.stdout.write(`${asked.size} of ${ids.length} tasks were to be cancelled, ${hit} were\n`)
    expect(hit).toBeGreaterThan(0)
    expect(eventsOf(work, 'worker_gone')).toEqual([])
    expect(await stop(work)).toBe(0)
  })
})

describe('timeout_in_sec', () => {
  test('ends the statement in time, one that catches the cancel, a deferred trigger at the commit, and several statements by their sum', async () => {
    await queue.db.owner.query(`create table if not exists slow (n integer);
      create or replace function dawdle() returns trigger language plpgsql as $$ begin perform pg_sleep(60); return null; end $$;
      create constraint trigger dawdle after insert on slow deferrable initially deferred for each row execute function dawdle()`)
    const work = await queue.work(['--concurrency', '4'])
    const ids = [
      await queue.enqueue('insert into ledger select 1 from pg_sleep(60)', { timeout_in_sec: 0.5 }),
      await queue.enqueue('insert into slow values (1)', { timeout_in_sec: 0.5 }),
      await queue.enqueue(`set statement_timeout = 0; ${STUBBORN}`, { timeout_in_sec: 0.5 }),
      await queue.enqueue(`insert into ledger values (2)${'; select pg_sleep(0.2)'.repeat(20)}`, {
        timeout_in_sec: 0.5,
      }),
    ]
    for (const [index, id] of ids.entries()) {
      const task = await queue.reaches(id, 'failed', 15_000)
      process.stdout.write(`timed out after ${passed(task)} ms of 500\n`)
      expect(task.errors).toMatch(/^ERROR 57014: Timed out after 0.5 s/)
      expect(passed(task)).toBeGreaterThanOrEqual(500)
      if (index !== 2) expect(passed(task)).toBeLessThan(2500)
      expect(task.worker_deaths).toBeLessThan(2)
    }
    expect(await queue.count('select count(*) from slow')).toBe(0)
    expect(await queue.count('select count(*) from ledger')).toBe(0)
    expect(await stop(work)).toBe(0)
  })

  test('is an error like others: tried again while retries are left', async () => {
    const work = await queue.work(['--concurrency', '1'])
    await queue.set('timeout_in_sec', '0.3', 'slow')
    const id = await queue.enqueue('select pg_sleep(60)', { topic: 'slow', max_retries: 1 })
    await queue.reaches(id, 'retrying')
    const task = await queue.reaches(id, 'failed')
    expect(task.retry_count).toBe(1)
    expect((await queue.attempts(id)).map((a) => [a.outcome, a.sqlstate])).toEqual([
      ['retrying', '57014'],
      ['failed', '57014'],
    ])
    expect(await stop(work)).toBe(0)
  })

  test('does not stop a cancel from being heard while the time-out is being forced', async () => {
    const work = await queue.work(['--concurrency', '1'])
    const id = await queue.enqueue(STUBBORN, { timeout_in_sec: 0.3 })
    await waitFor('the time-out', async () => (await queue.task(id)).end_requested === 'timeout')
    await cancel(id)
    const task = await queue.reaches(id, ['failed', 'cancelled'], 8000)
    expect(passed(task)).toBeLessThan(6000)
    expect(await stop(work)).toBe(0)
  })
})
