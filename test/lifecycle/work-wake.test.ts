import { spawn } from 'node:child_process'
import { describe, expect, test } from 'vitest'
import { waitFor } from '../support/wait.js'
import { eventsOf, stop, useQueue } from './work-support.js'

const queue = useQueue()
const ms = (later: string, earlier: string): number => Date.parse(later) - Date.parse(earlier)

describe('an idle supervisor', () => {
  test('starts a task right after a commit that came 3 s after the enqueue', async () => {
    const work = await queue.work()
    const session = await queue.db.session()
    await session.query('begin')
    const id = await queue.enqueue('select 1', {}, session)
    // a server-side wait: the transaction is open, the supervisor ticks on and must see nothing
    const { at } = await session.one<{ at: string }>('select clock_timestamp() as at from pg_sleep(3)')
    await session.query('commit')
    const task = await queue.reaches(id, 'finished')
    process.stdout.write(`started ${ms(task.started_at!, at)} ms after the commit was sent\n`)
    expect(ms(task.started_at!, at)).toBeLessThan(500)
    expect(await stop(work)).toBe(0)
  })

  test('starts a task of the near future when it is due, and not before', async () => {
    const work = await queue.work()
    const { at } = await queue.db.owner.one<{ at: string }>(
      `select clock_timestamp() + interval '1500 ms' as at`,
    )
    const id = await queue.enqueue('select 1', { run_at: at })
    const task = await queue.reaches(id, 'finished')
    process.stdout.write(`started ${ms(task.started_at!, at)} ms after run_at\n`)
    expect(ms(task.started_at!, at)).toBeGreaterThanOrEqual(0)
    expect(ms(task.started_at!, at)).toBeLessThan(500)
    expect(await stop(work)).toBe(0)
  })

  test('tries again after 2 and after 4 more seconds', async () => {
    const work = await queue.work()
    const id = await queue.enqueue('select 1/0', { max_retries: 2 })
    await queue.reaches(id, 'retrying')
    const task = await queue.reaches(id, 'failed')
    expect(task.retry_count).toBe(2)
    const rows = await queue.db.owner.query<{ started_at: string; ended_at: string; outcome: string }>(
      'select started_at, ended_at, outcome from background_queue.attempts where task_id = $1 order by id',
      [id],
    )
    expect(rows.map((r) => r.outcome)).toEqual(['retrying', 'retrying', 'failed'])
    const gaps = [ms(rows[1]!.started_at, rows[0]!.ended_at), ms(rows[2]!.started_at, rows[1]!.ended_at)]
    expect(gaps[0]).toBeGreaterThanOrEqual(2000)
    expect(gaps[0]).toBeLessThan(2500)
    expect(gaps[1]).toBeGreaterThanOrEqual(4000)
    expect(gaps[1]).toBeLessThan(4500)
    expect(eventsOf(work, 'retrying')).toHaveLength(2)
    expect(await stop(work)).toBe(0)
  })

  test('is woken by a plain SQL client', async (ctx) => {
    const url = new URL(queue.db.url().replace(/@\//, '@x/'))
    const psql = spawn('psql', [queue.db.url(), '-XAtqc', `select pg_background_enqueue('select 7')`], {
      env: { ...process.env, PGPASSWORD: url.password },
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    const isThere = await new Promise<boolean>((resolve) => {
      psql.once('error', () => resolve(false))
      psql.once('close', () => resolve(true))
    })
    if (!isThere) ctx.skip('psql is not installed')
    const work = await queue.work()
    await waitFor(
      "psql's task",
      async () =>
        (await queue.count(`select count(*) from pg_background_tasks where state = 'finished'`)) === 1,
    )
    expect(await stop(work)).toBe(0)
  })

  test('takes a task that was inserted by the owner with the first columns only', async () => {
    const work = await queue.work()
    await queue.db.owner.query(
      `insert into pg_background_tasks (sql_statement, topic) values ('select 1', 'x')`,
    )
    await waitFor(
      'the task',
      async () =>
        (await queue.count(`select count(*) from pg_background_tasks where state = 'finished'`)) === 1,
      1000,
    )
    expect(await stop(work)).toBe(0)
  })
})

describe('a rush of enqueues', () => {
  const wantsWake = async (): Promise<boolean> =>
    (await queue.db.owner.one<{ wants_wake: boolean }>('select wants_wake from background_queue.supervisors'))
      .wants_wake

  test('need not notify, tasks start at once all the same, and workers rest after it', async () => {
    const work = await queue.work()
    // workers stay idle: what is dense is paused
    await queue.set('paused', 'true', 'held')
    await queue.db.owner.query(`set synchronous_commit = off`)
    await queue.db.owner.query(`do $$ begin
      while (select s.wants_wake from background_queue.supervisors s) loop
        perform pg_background_enqueue('select 1', 'held');
        commit;
      end loop;
    end $$`)
    await queue.db.owner.query('reset synchronous_commit')
    for (let i = 0; i < 5; i++) await queue.reaches(await queue.enqueue('select 1'), 'finished')
    await waitFor('the supervisor to want notifications again', wantsWake)
    await queue.reaches(await queue.enqueue('select 1'), 'finished')
    const { worst } = await queue.db.owner.one<{ worst: number }>(
      `select max(extract(epoch from started_at - joined_at) * 1000)::float8 as worst from pg_background_tasks`,
    )
    process.stdout.write(`started ${worst.toFixed(1)} ms after the enqueue at the latest\n`)
    expect(worst).toBeLessThan(500)
    await ticks()
    const lookedAt = await workersLooked()
    await ticks()
    expect(await workersLooked()).toEqual(lookedAt)
    expect(await stop(work)).toBe(0)
  })

  /** until the supervisor has said again that it lives, which it does once a second */
  async function ticks(): Promise<void> {
    const seenAt = async () =>
      (await queue.db.owner.one<{ seen_at: string }>('select seen_at from background_queue.supervisors'))
        .seen_at
    const before = await seenAt()
    await waitFor('the next tick', async () => (await seenAt()) !== before)
  }

  const workersLooked = () =>
    queue.db.admin.query(
      `select pid, state_change from pg_stat_activity
       where datname = current_database() and application_name = 'pg_background_queue worker' order by pid`,
    )
})

describe('bursts', () => {
  test('leave no task waiting beside a free slot', async () => {
    const work = await queue.work(['--warm', '4', '--concurrency', '4'])
    const endAt = performance.now() + 8000
    let sent = 0
    while (performance.now() < endAt) {
      const size = Math.ceil(Math.random() * 50) * Number(Math.random() < 0.3) + 1
      await queue.enqueueMany(Array(size).fill(`select pg_sleep(${(Math.random() * 0.03).toFixed(3)})`))
      sent += size
      await queue.db.owner.query(`select pg_sleep(${(Math.random() ** 2 * 0.4).toFixed(3)})`)
    }
    await waitFor(
      'all to end',
      async () =>
        (await queue.count(`select count(*) from pg_background_tasks where state = 'finished'`)) === sent,
    )
    // a task waits in vain while it is due and fewer than four run
    const { worst } = await queue.db.owner.one<{ worst: number }>(`
      with edges as (
        select started_at as at, 1 as n, -1 as w from pg_background_tasks union all
        select closed_at, -1, 0 from pg_background_tasks union all
        select run_at, 0, 1 from pg_background_tasks),
      levels as (select at, sum(n) over o as running, sum(w) over o as waiting, lead(at) over (order by at) as until
        from edges window o as (order by at, n rows unbounded preceding))
      select max(extract(epoch from until - at) * 1000)::float8 as worst from levels
      where running < 4 and waiting > 0`)
    process.stdout.write(`${sent} tasks; worst wait beside a free slot ${worst?.toFixed(1)} ms\n`)
    expect(worst ?? 0).toBeLessThan(300)
    expect(await stop(work)).toBe(0)
  })
})
