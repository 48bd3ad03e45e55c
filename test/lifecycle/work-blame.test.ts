import { beforeEach, describe, expect, inject, onTestFinished, test } from 'vitest'
import { startProxy } from '../support/proxy.js'
import { waitFor } from '../support/wait.js'
import { eventsOf, holderOf, isAlive, stop, useQueue, workerPids } from './work-support.js'

const queue = useQueue()
/** Runs for as long as the test holds the lock. */
const HELD = 'insert into ledger select 1 from (select pg_advisory_lock_shared(1)) l'

beforeEach(async () => {
  await queue.db.owner.query('create table if not exists ledger (n integer); truncate ledger')
  await queue.db.owner.query('select pg_advisory_unlock_all()')
})
const hold = () => queue.db.owner.query('select pg_advisory_lock(1)')
const letGo = () => queue.db.owner.query('select pg_advisory_unlock(1)')
const entries = () => queue.count('select count(*) from ledger')

/** Each new worker that runs the task, so many times. */
async function eachHolder(
  id: bigint,
  times: number,
  act: (holder: { pid: number; backend_pid: number }) => unknown,
): Promise<void> {
  const seen = new Set<number>()
  for (let n = 0; n < times; n++) {
    const holder = await waitFor('the next run', async () => {
      const found = await holderOf(queue, id)
      return !seen.has(found.backend_pid) && found
    })
    seen.add(holder.backend_pid)
    await act(holder)
  }
}

describe('a task is blamed for the death of its worker', () => {
  test('that was killed max_worker_deaths times', async () => {
    const work = await queue.work(['--concurrency', '2'])
    await hold()
    const id = await queue.enqueue(HELD, { max_retries: 5 })
    await eachHolder(id, 3, ({ pid }) => process.kill(pid, 'SIGKILL'))
    const task = await queue.reaches(id, 'failed')
    expect(task).toMatchObject({ worker_deaths: 3, retry_count: 0 })
    expect(task.errors).toMatch(
      /The task killed its worker 3 times; the last: Worker \d+ \(pid \d+\) was killed by SIGKILL/,
    )
    expect(await stop(work)).toBe(0)
  })
})

describe('a task is not blamed', () => {
  test('for a network that resets the connection of its worker, four times', async () => {
    const { config } = queue.db.target()
    const proxy = await startProxy({ host: config.host!, port: config.port! })
    onTestFinished(() => proxy.close())
    const url = `postgresql://${config.user}:${config.password}@127.0.0.1:${proxy.port}/${config.database}`
    const work = await queue.work(['--concurrency', '2'], { url })
    await hold()
    const id = await queue.enqueue(HELD)
    await eachHolder(id, 4, ({ backend_pid }) => proxy.reset(backend_pid))
    await letGo()
    expect(await queue.reaches(id, 'finished')).toMatchObject({ rescues: 4, worker_deaths: 0 })
    expect(await entries()).toBe(1)
    expect(eventsOf(work, 'database_lost')).toEqual([])
    expect(await stop(work)).toBe(0)
  })

  test('for supervisors and whole hosts that are killed, four times; the next host has it in time', async () => {
    let work = await queue.work(['--concurrency', '1'])
    await hold()
    const id = await queue.enqueue(HELD)
    for (let n = 0; n < 4; n++) {
      const { pid } = await holderOf(queue, id)
      const next = await queue.work(['--concurrency', '1'])
      const isWholeHost = n % 2 === 1
      if (isWholeHost) process.kill(pid, 'SIGKILL')
      work.child.kill('SIGKILL')
      const killedAt = performance.now()
      await next.event((e) => e.event === 'claimed')
      const tookMs = Math.round(performance.now() - killedAt)
      process.stdout.write(`${isWholeHost ? 'a host' : 'a supervisor'} killed; runs again: ${tookMs} ms\n`)
      // before 14 the next host ends the backends, once the other was silent for 5 s
      expect(tookMs).toBeLessThan(inject('serverMajor') < 14 ? 9000 : 5000)
      work = next
    }
    await letGo()
    expect(await queue.reaches(id, 'finished')).toMatchObject({ worker_deaths: 0, retry_count: 0 })
    expect(await entries()).toBe(1)
    expect(await stop(work)).toBe(0)
  })
})

test('a task that catches cancels runs again within 2 s after its worker was killed, beside three busy ones', async () => {
  const work = await queue.work(['--concurrency', '4'])
  const id = await queue.enqueue(
    `do $$ begin loop begin perform count(*) from generate_series(1, 10000);
       exception when query_canceled then null; end; end loop; end $$`,
    { priority: 1 },
  )
  const { pid } = await holderOf(queue, id)
  await queue.enqueueMany(Array.from({ length: 200 }, () => 'select count(*) from generate_series(1, 50000)'))
  await waitFor('the others to be busy', () => eventsOf(work, 'claimed').length > 20)
  const claims = () => eventsOf(work, 'claimed').filter((e) => e.task_id === Number(id)).length
  process.kill(pid, 'SIGKILL')
  const killedAt = performance.now()
  await waitFor('the second run', () => claims() === 2)
  const tookMs = Math.round(performance.now() - killedAt)
  process.stdout.write(`kill -9 of one of four busy workers to the second run: ${tookMs} ms\n`)
  expect(tookMs).toBeLessThan(2000)
  await queue.db.owner.query('select pg_background_cancel($1)', [id])
  await queue.reaches(id, 'cancelled')
  expect(await stop(work)).toBe(0)
})

test('SIGTERM during four long tasks releases all, spends no retry, leaves no backend', async () => {
  const work = await queue.work(['--concurrency', '4', '--shutdown-timeout', '1'])
  const ids = await queue.enqueueMany(
    Array.from({ length: 4 }, () => 'insert into ledger select 1 from pg_sleep(60)'),
  )
  for (const id of ids) await holderOf(queue, id)
  const askedAt = performance.now()
  expect(await stop(work)).toBe(0)
  process.stdout.write(
    `four tasks released ${Math.round(performance.now() - askedAt)} ms after SIGTERM (1 s)\n`,
  )
  for (const id of ids) {
    expect(await queue.task(id)).toMatchObject({
      state: 'pending',
      retry_count: 0,
      worker_deaths: 0,
      rescues: 0,
    })
    expect(await queue.attempts(id)).toMatchObject([{ outcome: 'released' }])
  }
  expect(
    await queue.count(`select count(*) from pg_stat_activity where query like '%pg_sleep(60)%'
    and datname = current_database() and pid <> pg_backend_pid()`),
  ).toBe(0)
  expect(workerPids(work).some(isAlive)).toBe(false)
})
