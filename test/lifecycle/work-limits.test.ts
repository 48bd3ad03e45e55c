import { expect, test } from 'vitest'
import { waitFor } from '../support/wait.js'
import { stop, useQueue } from './work-support.js'

const queue = useQueue()

/** Most runs of a topic at the same instant (null: of all), and the shortest pause between two that follow, in ms. */
async function audit(topic: string | null): Promise<{ most: number; gap: number }> {
  const row = await queue.db.owner.one<{ most: bigint; gap: number | null }>(
    `with runs as (select started_at, closed_at from pg_background_tasks where $1::text is null or topic = $1),
     edges as (select started_at as at, 1 as n from runs union all select closed_at, -1 from runs)
     select (select max(level) from (select sum(n) over (order by at, n rows unbounded preceding) as level from edges) e) as most,
       (select min(extract(epoch from started_at - before) * 1000)::float8
        from (select started_at, lag(closed_at) over (order by started_at) as before from runs) g) as gap`,
    [topic],
  )
  return { most: Number(row.most), gap: row.gap ?? Number.NaN }
}

const allClosed = () =>
  waitFor(
    'all tasks to be closed',
    async () =>
      (await queue.count(
        `select count(*) from pg_background_tasks where state in ('pending', 'running', 'retrying')`,
      )) === 0,
  )

async function fill(): Promise<void> {
  await queue.set('max_parallel_running_tasks_count', '2', 'two')
  await queue.set('max_parallel_running_tasks_count', '1', 'one')
  await queue.set('max_parallel_running_tasks_count', '1', 'delayed')
  await queue.set('delay_in_sec', '0.4', 'delayed')
  await queue.enqueueMany(Array(20).fill('select pg_sleep(0.05)'), 'two')
  await queue.enqueueMany(Array(10).fill('select pg_sleep(0.05)'), 'one')
  await queue.enqueueMany([...Array(4).fill('select 1'), 'select 1/0'], 'delayed')
  await queue.enqueueMany(Array(20).fill('select pg_sleep(0.05)'))
}

async function check(limit: number): Promise<void> {
  expect((await audit('two')).most).toBe(2)
  expect((await audit('one')).most).toBe(1)
  const delayed = await audit('delayed')
  expect(delayed.most).toBe(1)
  expect(delayed.gap).toBeGreaterThanOrEqual(400)
  expect(delayed.gap).toBeLessThan(900)
  const { most } = await audit(null)
  expect(most).toBeLessThanOrEqual(limit)
  expect(most).toBeGreaterThan(2)
  process.stdout.write(
    `at most ${most} at once, limit ${limit}; shortest pause ${delayed.gap.toFixed(1)} ms of 400\n`,
  )
}

test('limits and delays of topics hold under four workers, and hold up nobody else', async () => {
  await fill()
  const work = await queue.work(['--concurrency', '4'])
  await allClosed()
  await check(4)
  expect(await stop(work)).toBe(0)
})

test('two supervisors share the global limit and those of topics', async () => {
  await queue.set('max_parallel_running_tasks_count', '3')
  await fill()
  const works = [await queue.work(['--concurrency', '4']), await queue.work(['--concurrency', '4'])]
  await allClosed()
  await check(3)
  expect(await Promise.all(works.map((work) => stop(work)))).toEqual([0, 0])
})

test('limits still hold while workers are killed', async () => {
  await queue.set('max_parallel_running_tasks_count', '1', 'one')
  await queue.set('max_worker_deaths', '0')
  const work = await queue.work(['--concurrency', '3'])
  await queue.db.owner.query(`create table if not exists audit (at timestamptz, n integer)`)
  // the row lock is what two that overlap would wait for
  const ids = await queue.enqueueMany(
    Array(12).fill(
      `do $$ begin if not pg_try_advisory_xact_lock(4711) then raise 'overlap'; end if; perform pg_sleep(0.15); end $$`,
    ),
    'one',
  )
  for (let kills = 0; kills < 5; kills++) {
    const worker = await waitFor('a running task', async () => {
      const [row] = await queue.db.owner.query<{ pid: number; id: bigint }>(
        `select w.pid, w.id from pg_background_tasks t join background_queue.workers w on w.id = t.worker_id`,
      )
      return row
    })
    process.kill(worker.pid, 'SIGKILL')
    await waitFor(
      'its funeral',
      async () =>
        (await queue.count(`select count(*) from background_queue.workers where id = ${worker.id}`)) === 0,
    )
  }
  for (const id of ids) expect((await queue.reaches(id, ['finished', 'failed'])).errors).toBeNull()
  expect(await stop(work)).toBe(0)
})

test('a limit of ALTER DATABASE holds at once, and its RESET too', async () => {
  const alter = (change: string) => queue.db.admin.query(`alter database ${queue.db.name} ${change}`)
  const limit = async () =>
    (await queue.db.owner.one(`select max_running from background_queue.lanes where lane = ''`)).max_running
  const work = await queue.work(['--concurrency', '1'])
  const before = await limit()
  await alter('set pg_background_queue.max_parallel_running_tasks_count = 7')
  await waitFor('the limit to be 7', async () => (await limit()) === 7)
  await alter('reset pg_background_queue.max_parallel_running_tasks_count')
  await waitFor('the limit to be back', async () => (await limit()) === before)
  await stop(work)
})

test('changes of limits and pauses take effect at once, and stop nothing that runs', async () => {
  const work = await queue.work(['--concurrency', '4'])
  await queue.set('paused', 'true')
  const ids = await queue.enqueueMany(Array(4).fill('select pg_sleep(1)'), 'live')
  await queue.set('max_parallel_running_tasks_count', '1', 'live')
  await queue.set('paused', null)
  const unpausedAt = performance.now()
  await queue.reaches(ids[0]!, 'running')
  process.stdout.write(`ran ${Math.round(performance.now() - unpausedAt)} ms after the end of a pause\n`)
  expect(await queue.count(`select count(*) from pg_background_tasks where state = 'running'`)).toBe(1)
  await queue.set('max_parallel_running_tasks_count', '3', 'live')
  const raisedAt = performance.now()
  await waitFor(
    'three at once',
    async () => (await queue.count(`select count(*) from pg_background_tasks where state = 'running'`)) === 3,
  )
  process.stdout.write(`a raised limit was used after ${Math.round(performance.now() - raisedAt)} ms\n`)
  await queue.set('max_parallel_running_tasks_count', '1')
  await allClosed()
  await queue.enqueueMany(Array(4).fill('select pg_sleep(0.05)'), 'after')
  await allClosed()
  expect((await audit('after')).most).toBe(1)
  expect(await stop(work)).toBe(0)
})
