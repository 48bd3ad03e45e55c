import { beforeEach, expect, test } from 'vitest'
import { waitFor } from '../support/wait.js'
import { eventsOf, isAlive, stop, useQueue, workerPids } from './work-support.js'

/** Grouped commits with real workers, which die. */

const queue = useQueue()
const EFFECT = 'insert into effects values (pg_current_xact_id())'

beforeEach(async () => {
  await queue.db.owner.query('create table if not exists effects (xid xid8); truncate effects')
  await queue.set('max_tasks_per_commit', '20')
})

const effects = () => queue.count('select count(*) from effects')
const transactions = () => queue.count('select count(distinct xid::text) from effects')
const inState = (state: string) =>
  queue.count(`select count(*) from pg_background_tasks where state = '${state}'`)

test('tells of each task of a transaction as of one that had it to itself', async () => {
  const ids = await queue.enqueueMany(
    Array.from({ length: 60 }, () => EFFECT),
    'reports',
  )
  const work = await queue.work(['--concurrency', '2', '--drain'], { isReadyAwaited: false })
  expect(await work.exit()).toBe(0)
  expect(await effects()).toBe(60)
  expect(await transactions()).toBeLessThan(60)
  for (const event of ['claimed', 'finished']) {
    const told = eventsOf(work, event)
    expect(told.map((e) => BigInt(e.task_id as number)).sort()).toEqual([...ids].sort())
    expect(new Set(told.map((e) => e.topic))).toEqual(new Set(['reports']))
  }
  for (const { duration_ms } of eventsOf(work, 'finished')) expect(duration_ms).toBeGreaterThanOrEqual(0)
})

test('loses and repeats nothing where workers are killed in the middle of groups', async () => {
  const work = await queue.work(['--concurrency', '3'])
  await queue.set('max_worker_deaths', '0')
  const tasks = 1500
  await queue.enqueueMany(Array.from({ length: tasks }, () => EFFECT))
  for (let kills = 0; kills < 8; kills++) {
    const before = await effects()
    await waitFor('some more effects', async () => (await effects()) > before || before === tasks)
    process.kill(await waitFor('a worker', () => workerPids(work).findLast(isAlive)), 'SIGKILL')
  }
  await waitFor('all to be finished', async () => (await inState('finished')) === tasks, 30_000)
  expect(await effects()).toBe(tasks)
  expect(await transactions()).toBeLessThan(tasks)
  expect(await stop(work)).toBe(0)
})

test('blames a task that kills its backend, and not the one that led its transaction', async () => {
  const statements = Array.from({ length: 20 }, () => EFFECT)
  statements[7] = 'select pg_terminate_backend(pg_backend_pid())'
  const ids = await queue.enqueueMany(statements)
  const work = await queue.work(['--concurrency', '1', '--drain'], { isReadyAwaited: false })
  expect(await work.exit()).toBe(0)
  expect((await queue.task(ids[7]!)).errors).toMatch(/^The task killed its worker 3 times/)
  expect(await inState('failed')).toBe(1)
  expect(await inState('finished')).toBe(19)
  expect(await effects()).toBe(19)
})

test('cancels a task of a group at once, before or after its turn, and never another', async () => {
  const work = await queue.work(['--concurrency', '1'])
  const ids = await queue.enqueueMany(Array.from({ length: 400 }, () => EFFECT))
  const cancelled = []
  for (const id of ids.filter((_, n) => n % 7 === 3)) {
    const { done } = await queue.db.owner.one<{ done: boolean }>('select pg_background_cancel($1) as done', [
      id,
    ])
    if (done) cancelled.push(id)
  }
  await waitFor('all to be closed', async () => (await inState('pending')) + (await inState('running')) === 0)
  // of a task that runs, cancel only asks
  expect(await inState('cancelled')).toBeLessThanOrEqual(cancelled.length)
  expect(await inState('failed')).toBe(0)
  expect(await effects()).toBe(await inState('finished'))
  expect((await inState('finished')) + (await inState('cancelled'))).toBe(400)
  expect(await stop(work)).toBe(0)
})

test('stopped in the middle, finishes the transactions that have begun and claims nothing more', async () => {
  const work = await queue.work(['--concurrency', '2'])
  await queue.enqueueMany(Array.from({ length: 3000 }, () => EFFECT))
  await waitFor('some effects', async () => (await effects()) > 100)
  expect(await stop(work)).toBe(0)
  const finished = await inState('finished')
  expect(finished).toBeLessThan(3000)
  expect(await effects()).toBe(finished)
  expect(await inState('pending')).toBe(3000 - finished)
  expect(await queue.count('select count(*) from background_queue.attempts')).toBe(0)
})
