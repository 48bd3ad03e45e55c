import { expect, test } from 'vitest'
import { waitFor } from '../support/wait.js'
import { eventsOf, holderOf, stop, useQueue, workerPids } from './work-support.js'

const queue = useQueue()
const LONG = 'select pg_sleep(60)'

test('SIGTERM lets a task end that ends in time, and claims nothing more', async () => {
  const work = await queue.work(['--concurrency', '1'])
  await queue.db.owner.query('select pg_advisory_lock(1)')
  const [running, waiting] = (await queue.enqueueMany(['select pg_advisory_lock_shared(1)', 'select 2'])) as [
    bigint,
    bigint,
  ]
  await holderOf(queue, running)
  work.child.kill('SIGTERM')
  await work.event((e) => e.event === 'stopping')
  await queue.db.owner.query('select pg_advisory_unlock(1)')
  expect(await work.exit()).toBe(0)
  expect((await queue.task(running)).state).toBe('finished')
  expect((await queue.task(waiting)).state).toBe('pending')
  expect(work.events().at(-1)?.event).toBe('stopped')
})

test('SIGTERM releases a task that outlasts --shutdown-timeout: pending, no retry spent, the attempt kept', async () => {
  const work = await queue.work(['--concurrency', '2', '--shutdown-timeout', '300ms'])
  const id = await queue.enqueue(LONG, { max_retries: 1 })
  await holderOf(queue, id)
  const begunAt = performance.now()
  expect(await stop(work)).toBe(0)
  process.stdout.write(
    `released and left ${Math.round(performance.now() - begunAt)} ms after SIGTERM (timeout 300 ms)\n`,
  )
  expect(await queue.task(id)).toMatchObject({
    state: 'pending',
    retry_count: 0,
    started_at: null,
    errors: null,
    worker_deaths: 0,
  })
  expect(await queue.attempts(id)).toMatchObject([{ outcome: 'released' }])
  expect(eventsOf(work, 'released')).toMatchObject([{ task_id: Number(id) }])
})

test('while it stops it still tells others that it lives, and hears a cancel', async () => {
  const work = await queue.work(['--concurrency', '1'])
  const id = await queue.enqueue(LONG)
  await holderOf(queue, id)
  work.child.kill('SIGTERM')
  await work.event((e) => e.event === 'stopping')
  const { seen_at: asked } = await queue.db.owner.one('select seen_at from background_queue.supervisors')
  const isSeen = `select count(*) from background_queue.supervisors where seen_at > $1::timestamptz + interval '2 s'`
  await waitFor(
    'its next signs of life',
    async () => (await queue.db.owner.one(isSeen, [asked])).count === 1n,
    6000,
  )
  await queue.db.owner.query('select pg_background_cancel($1)', [id])
  await queue.reaches(id, 'cancelled', 3000)
  expect(await work.exit()).toBe(0)
})

test('a second signal releases at once', async () => {
  const work = await queue.work(['--concurrency', '1'])
  const id = await queue.enqueue(LONG)
  await holderOf(queue, id)
  work.child.kill('SIGTERM')
  await work.event((e) => e.event === 'stopping')
  const begunAt = performance.now()
  expect(await stop(work, 'SIGINT')).toBe(0)
  expect(performance.now() - begunAt).toBeLessThan(5000)
  expect((await queue.task(id)).state).toBe('pending')
})

test('children ignore SIGINT and SIGHUP, which a terminal sends to all; SIGHUP stops the supervisor', async () => {
  const work = await queue.work(['--concurrency', '2'])
  await queue.db.owner.query('select pg_advisory_lock(1)')
  const id = await queue.enqueue('select pg_advisory_lock_shared(1)')
  await holderOf(queue, id)
  for (const pid of workerPids(work))
    for (const signal of ['SIGINT', 'SIGHUP'] as const) process.kill(pid, signal)
  work.child.kill('SIGHUP')
  await work.event((e) => e.event === 'stopping' && e.reason === 'SIGHUP')
  await queue.db.owner.query('select pg_advisory_unlock(1)')
  expect(await work.exit()).toBe(0)
  expect((await queue.task(id)).state).toBe('finished')
  expect(eventsOf(work, 'worker_gone').every((e) => e.is_expected)).toBe(true)
})

test('SIGTERM to a worker alone lets its task end, and another takes its place', async () => {
  const work = await queue.work(['--concurrency', '1'])
  const id = await queue.enqueue('select pg_sleep(0.5)')
  const { pid } = await holderOf(queue, id)
  process.kill(pid, 'SIGTERM')
  await queue.reaches(id, 'finished')
  await waitFor('the replacement', () => workerPids(work).length === 2)
  const next = await queue.enqueue('select 1')
  await queue.reaches(next, 'finished')
  expect(await queue.task(id)).toMatchObject({ rescues: 0, worker_deaths: 0 })
  const begunAt = performance.now()
  expect(await stop(work)).toBe(0)
  process.stdout.write(`an idle stop takes ${Math.round(performance.now() - begunAt)} ms\n`)
  expect(performance.now() - begunAt).toBeLessThan(3000)
})

test('a reader of its events that went away does not keep it from a clean stop', async () => {
  const work = await queue.work(['--concurrency', '1', '--shutdown-timeout', '200ms'])
  const id = await queue.enqueue(LONG)
  await holderOf(queue, id)
  work.child.stdout?.destroy()
  work.child.stderr?.destroy()
  expect(await stop(work, 'SIGHUP')).toBe(0)
  expect((await queue.task(id)).state).toBe('pending')
})

test('leaves after --idle-timeout without work, not while tasks come', async () => {
  const id = await queue.enqueue('select pg_sleep(2)')
  const work = await queue.work(['--concurrency', '1', '--idle-timeout', '1s'])
  expect(await work.exit()).toBe(0)
  expect((await queue.task(id)).state).toBe('finished')
  expect(eventsOf(work, 'stopping')).toMatchObject([{ reason: 'idle' }])
})
