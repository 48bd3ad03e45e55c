import { expect, test } from 'vitest'
import { eventsOf, useQueue, useRole } from './work-support.js'

const queue = useQueue()
const other = useRole(queue)

test('--drain leaves with 0 when all is done, also with failed tasks, and waits for what is retried', async () => {
  const sound = await queue.enqueueMany(Array(6).fill('select 1'))
  const broken = await queue.enqueue('select 1/0')
  const retried = await queue.enqueue('select 1/0', { max_retries: 1 })
  const work = await queue.work(['--drain', '--concurrency', '2'])
  expect(await work.exit()).toBe(0)
  for (const id of sound) expect((await queue.task(id)).state).toBe('finished')
  expect((await queue.task(broken)).state).toBe('failed')
  expect(await queue.task(retried)).toMatchObject({ state: 'failed', retry_count: 1 })
  expect(eventsOf(work, 'left')).toEqual([])
  expect(
    work
      .events()
      .slice(-2)
      .map((e) => e.reason ?? e.event),
  ).toContain('stopped')
})

test('--drain leaves what it cannot or need not run, and lists it', async () => {
  await queue.set('paused', 'true', 'paused')
  await queue.set('max_parallel_running_tasks_count', '0', 'none')
  await queue.enqueue('select 1', { run_at: '2100-01-01T00:00:00Z' })
  await queue.enqueue('select 1', { topic: 'paused' })
  await queue.enqueueMany(['select 1', 'select 2'], 'none')
  await queue.enqueue('select 1', {}, other.session)
  const sound = await queue.enqueue('select 1')
  await queue.db.admin.query(`alter role ${other.name} nologin`)
  const work = await queue.work(['--drain', '--concurrency', '2'])
  expect(await work.exit()).toBe(0)
  expect((await queue.task(sound)).state).toBe('finished')
  const left = eventsOf(work, 'left').map(({ reason, topic, count }) => ({ reason, topic, count }))
  expect(left).toEqual([
    { reason: 'due later', topic: null, count: 1 },
    { reason: 'limit 0', topic: 'none', count: 2 },
    { reason: `no worker may run as role ${other.name}`, topic: null, count: 1 },
    { reason: 'paused', topic: 'paused', count: 1 },
  ])
})

test('--topic and --no-topic serve those alone', async () => {
  const [a] = await queue.enqueueMany(['select 1'], 'a')
  const [b] = await queue.enqueueMany(['select 1'], 'b "quoted" 🐘')
  const [none] = await queue.enqueueMany(['select 1'])
  const first = await queue.work(['--drain', '--concurrency', '1', '--topic', 'b "quoted" 🐘'])
  expect(await first.exit()).toBe(0)
  expect([
    (await queue.task(a!)).state,
    (await queue.task(b!)).state,
    (await queue.task(none!)).state,
  ]).toEqual(['pending', 'finished', 'pending'])
  const second = await queue.work(['--drain', '--concurrency', '1', '--no-topic'])
  expect(await second.exit()).toBe(0)
  expect([(await queue.task(a!)).state, (await queue.task(none!)).state]).toEqual(['pending', 'finished'])
})

test('--drain waits for what another supervisor runs', async () => {
  const first = await queue.work(['--concurrency', '1'])
  const id = await queue.enqueue('select pg_sleep(2)')
  await queue.reaches(id, 'running')
  const work = await queue.work(['--drain', '--concurrency', '1'])
  expect(await work.exit()).toBe(0)
  expect((await queue.task(id)).state).toBe('finished')
  first.child.kill('SIGTERM')
  expect(await first.exit()).toBe(0)
})
