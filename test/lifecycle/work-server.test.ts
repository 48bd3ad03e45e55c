import { afterAll, beforeAll, expect, onTestFinished, test, vi } from 'vitest'
import { Database } from '../../src/engine/database/database.js'
import { resolveTarget } from '../../src/engine/database/target.js'
import { install } from '../../src/engine/migrator.js'
import { type RunningWork, startWork } from '../support/cli.js'
import { PROGRAMS, startServer } from '../support/own-server.js'
import type { OwnProcess } from '../support/programs-server.js'
import { waitFor } from '../support/wait.js'
import { eventsOf, isAlive, stop, workerPids } from './work-support.js'

vi.setConfig({ testTimeout: 60_000 })

/** A server of this file's own, to be ended under a running supervisor. */
let server: OwnProcess

async function ask<T extends Record<string, unknown>>(text: string, values: unknown[] = []): Promise<T[]> {
  const database = await Database.connect(resolveTarget(server.url), { applicationName: 'pgbq tests' })
  try {
    return await database.query<T>(text, values)
  } finally {
    await database.close()
  }
}

beforeAll(async () => {
  server = await startServer(PROGRAMS)
  const database = await Database.connect(resolveTarget(server.url), { applicationName: 'pgbq tests' })
  await install(database)
  await database.query('create table ledger (n integer)')
  await database.close()
})
afterAll(() => server.destroy())

/** One task runs; `end` ends the server under it; then the server is started again. */
async function survive(
  end: () => Promise<unknown>,
): Promise<{ work: RunningWork; task: Record<string, any> }> {
  onTestFinished(() => void waitFor('no worker to be left', () => !workerPids(work).some(isAlive)))
  await ask('truncate ledger')
  const work = await startWork(['--concurrency', '3'], { url: server.url })
  const [row] = await ask<{ id: bigint }>(
    `select pg_background_enqueue('insert into ledger select 1 from pg_sleep(1.5)', null, '{"max_retries": 0}') as id`,
  )
  await work.event((e) => e.event === 'claimed')
  await end()
  await work.event((e) => e.event === 'database_lost')
  await waitFor('the workers to have left', () => eventsOf(work, 'worker_gone').length === 3)
  await server.start()
  const upAt = performance.now()
  await work.event((e) => e.event === 'database_back')
  process.stdout.write(`back ${Math.round(performance.now() - upAt)} ms after the server was up\n`)
  const task = await waitFor('the task to be finished', async () => {
    const [found] = await ask<{ state: string; worker_deaths: number; retry_count: number }>(
      'select state, worker_deaths, retry_count from pg_background_tasks where id = $1',
      [row!.id],
    )
    return found!.state === 'finished' && found
  })
  return { work, task }
}

test.each([
  ['an immediate shutdown', async () => process.kill(server.pid, 'SIGQUIT')],
  ['a fast shutdown', () => server.shutDown()],
])('survives %s of the server: work goes on, nothing is lost or counted as a death', async (_, end) => {
  const { work, task } = await survive(end)
  // a claim is not flushed: after a crash the task may just be pending, with nobody to rescue it from
  expect(task).toMatchObject({ worker_deaths: 0, retry_count: 0 })
  expect(await ask('select n from ledger')).toEqual([{ n: 1 }])
  expect(eventsOf(work, 'database_lost')).toHaveLength(1)
  expect(await ask('select from background_queue.supervisors')).toHaveLength(1)
  await waitFor(
    'the registry to tell who lives',
    async () => (await ask('select from background_queue.workers')).length === 3,
  )
  expect(await stop(work)).toBe(0)
})

test('four restarts of the server under a task, fast and at once in turn, are no fault of the task', async () => {
  await ask('truncate ledger')
  const work = await startWork(['--concurrency', '1'], { url: server.url })
  const [row] = await ask<{ id: bigint }>(
    `select pg_background_enqueue('insert into ledger select 1 from pg_sleep(1)') as id`,
  )
  for (let n = 0; n < 4; n++) {
    await waitFor('its next run', () => eventsOf(work, 'claimed').length > n)
    if (n % 2 === 0) await server.shutDown()
    else process.kill(server.pid, 'SIGQUIT')
    await waitFor('the loss', () => eventsOf(work, 'database_lost').length > n)
    await server.start()
  }
  const task = await waitFor('the task to be finished', async () => {
    const [found] = await ask<Record<string, unknown>>(
      'select state, worker_deaths, retry_count from pg_background_tasks where id = $1',
      [row!.id],
    )
    return found!.state === 'finished' && found
  })
  expect(task).toMatchObject({ worker_deaths: 0, retry_count: 0 })
  expect(await ask('select n from ledger')).toEqual([{ n: 1 }])
  expect(await stop(work)).toBe(0)
})

test('survives the crash of a backend, after which the server restarts all others', async () => {
  await ask('truncate ledger')
  const work = await startWork(['--concurrency', '2'], { url: server.url })
  const [row] = await ask<{ id: bigint }>(
    `select pg_background_enqueue('insert into ledger select 1 from pg_sleep(1.5)') as id`,
  )
  await work.event((e) => e.event === 'claimed')
  const [backend] = await ask<{ backend_pid: number }>(
    'select w.backend_pid from background_queue.workers w join pg_background_tasks t on t.worker_id = w.id',
  )
  process.kill(backend!.backend_pid, 'SIGKILL')
  await work.event((e) => e.event === 'database_back')
  const task = await waitFor('the task to be finished', async () => {
    const [found] = await ask<{ state: string; worker_deaths: number }>(
      'select state, worker_deaths from pg_background_tasks where id = $1',
      [row!.id],
    )
    return found!.state === 'finished' && found
  })
  expect(task.worker_deaths).toBe(0)
  expect(await ask('select n from ledger')).toEqual([{ n: 1 }])
  expect(await stop(work)).toBe(0)
})

test('stops with 0 while the server is away', async () => {
  const work = await startWork(['--concurrency', '2'], { url: server.url })
  await server.shutDown()
  await work.event((e) => e.event === 'database_lost')
  const askedAt = performance.now()
  expect(await stop(work)).toBe(0)
  process.stdout.write(
    `stopped without a server ${Math.round(performance.now() - askedAt)} ms after SIGTERM\n`,
  )
  expect(performance.now() - askedAt).toBeLessThan(5000)
  expect(workerPids(work).some(isAlive)).toBe(false)
})
