import { readFileSync } from 'node:fs'
import { beforeEach, describe, expect, test } from 'vitest'
import { needsPostgres } from '../support/version.js'
import { waitFor } from '../support/wait.js'
import { eventsOf, holderOf, isAlive, sessions, stop, useQueue, workerPids } from './work-support.js'

const queue = useQueue()
const ENDED_BY_OTHERS =
  'a backend without its client is ended by another supervisor, not by client_connection_check_interval'
const LEDGER = 'insert into ledger select 1 from pg_sleep(1)'

beforeEach(async () => {
  await queue.db.owner.query('create table if not exists ledger (n integer); truncate ledger')
})
const entries = () => queue.count('select count(*) from ledger')
const now = () => performance.now()
const tell = (what: string, since: number) =>
  process.stdout.write(`${what}: ${Math.round(now() - since)} ms\n`)

describe('a worker', () => {
  test('killed in the middle of a task is replaced and the task runs again, exactly once in effect', async () => {
    const work = await queue.work(['--concurrency', '2'])
    const id = await queue.enqueue(LEDGER)
    const { pid } = await holderOf(queue, id)
    process.kill(pid, 'SIGKILL')
    const killedAt = now()
    await waitFor('the second run', () => eventsOf(work, 'claimed').length === 2)
    tell('kill -9 of a worker to the second run', killedAt)
    expect(await queue.reaches(id, 'finished')).toMatchObject({
      rescues: 1,
      worker_deaths: 1,
      retry_count: 0,
    })
    expect(await entries()).toBe(1)
    expect(await queue.attempts(id)).toMatchObject([
      {
        outcome: 'rescued',
        message: expect.stringMatching(new RegExp(`Worker \\d+ \\(pid ${pid}\\) was killed by SIGKILL`)),
      },
    ])
    await waitFor('the replacement', () => workerPids(work).length === 3)
    expect(await stop(work)).toBe(0)
  })

  test('killed while idle, or before it is ready, is replaced; none stays registered', async () => {
    const work = await queue.work(['--concurrency', '2'])
    for (let n = 0; n < 6; n++) {
      const before = workerPids(work).length
      const pid = workerPids(work).findLast(isAlive)!
      process.kill(pid, 'SIGKILL')
      await waitFor('a replacement', () => workerPids(work).length > before)
    }
    const id = await queue.enqueue('select 1')
    await queue.reaches(id, 'finished')
    await waitFor(
      'the registry to tell who lives',
      async () => (await queue.count('select count(*) from background_queue.workers')) === 2,
    )
    expect(await stop(work)).toBe(0)
  })

  test('stopped by SIGSTOP holds its task; killed then, it is rescued', async () => {
    const work = await queue.work(['--concurrency', '2'])
    const id = await queue.enqueue(LEDGER)
    const { pid } = await holderOf(queue, id)
    process.kill(pid, 'SIGSTOP')
    const other = await queue.enqueue('select 1')
    await queue.reaches(other, 'finished')
    expect((await queue.task(id)).state).toBe('running')
    process.kill(pid, 'SIGKILL')
    await queue.reaches(id, 'finished')
    expect(await entries()).toBe(1)
    expect(await stop(work)).toBe(0)
  })

  test('whose backend is ended is replaced, also while it is idle', async () => {
    const work = await queue.work(['--concurrency', '2'])
    const id = await queue.enqueue(LEDGER)
    const { backend_pid } = await holderOf(queue, id)
    await queue.db.admin.query('select pg_terminate_backend($1)', [backend_pid])
    expect(await queue.reaches(id, 'finished')).toMatchObject({ worker_deaths: 1 })
    expect(await entries()).toBe(1)
    await waitFor('a replacement', () => workerPids(work).length === 3)
    const idle = await queue.db.owner.query<{ backend_pid: number }>(
      'select backend_pid from background_queue.workers',
    )
    for (const worker of idle)
      await queue.db.admin.query('select pg_terminate_backend($1)', [worker.backend_pid])
    await waitFor('two more', () => workerPids(work).length === 5)
    expect(await stop(work)).toBe(0)
  })

  test('killed by its own task again and again makes the task fail after max_worker_deaths', async () => {
    const work = await queue.work(['--concurrency', '2'])
    const id = await queue.enqueue('select pg_terminate_backend(pg_backend_pid())', { max_retries: 5 })
    const other = await queue.enqueue('select 1')
    const task = await queue.reaches(id, 'failed')
    expect(task).toMatchObject({ worker_deaths: 3, retry_count: 0 })
    expect(task.errors).toMatch(/killed its worker 3 times/)
    expect((await queue.attempts(id)).map((a) => a.outcome)).toEqual(['rescued', 'rescued', 'failed'])
    await queue.reaches(other, 'finished')
    expect(await stop(work)).toBe(0)
  })
})

describe('a supervisor', () => {
  test('killed in the middle of a task: its children end, and the next supervisor runs the task', async () => {
    const work = await queue.work(['--concurrency', '2'])
    const id = await queue.enqueue('insert into ledger select 1 from pg_sleep(2)')
    await holderOf(queue, id)
    work.child.kill('SIGKILL')
    const killedAt = now()
    await work.exit()
    await waitFor('the children to be gone', () => workerPids(work).every((pid) => !isAlive(pid)))
    tell('kill -9 of the supervisor to the end of its children', killedAt)
    expect(await queue.reaches(id, 'pending')).toMatchObject({ retry_count: 0 })
    const next = await queue.work(['--concurrency', '1'])
    const readyAt = now()
    await next.event((e) => e.event === 'claimed')
    tell('the next supervisor runs the task after', readyAt)
    expect(now() - readyAt).toBeLessThan(5000)
    await queue.reaches(id, 'finished')
    expect(await entries()).toBe(1)
    expect(await stop(next)).toBe(0)
  })

  test('killed together with its workers leaves a task that the next supervisor rescues at once', async () => {
    const work = await queue.work(['--concurrency', '1'])
    const id = await queue.enqueue('insert into ledger select 1 from pg_sleep(2)')
    const { pid } = await holderOf(queue, id)
    process.kill(pid, 'SIGSTOP')
    work.child.kill('SIGKILL')
    process.kill(pid, 'SIGKILL')
    await work.exit()
    const next = await queue.work(['--concurrency', '1'])
    const readyAt = now()
    await next.event((e) => e.event === 'claimed')
    expect(now() - readyAt).toBeLessThan(5000)
    expect(await queue.reaches(id, 'finished')).toMatchObject({ worker_deaths: 0, retry_count: 0 })
    expect(await entries()).toBe(1)
    expect(await stop(next)).toBe(0)
  })

  test('killed while its workers start leaves none of them behind', async (ctx) => {
    if (process.platform !== 'linux') ctx.skip('reads /proc, which only Linux has')
    for (let n = 0; n < 3; n++) {
      const work = await queue.work(['--concurrency', '4'], { isReadyAwaited: false })
      const children = `/proc/${work.pid}/task/${work.pid}/children`
      await waitFor('its workers to be forked', () => readFileSync(children, 'utf8').split(' ').length > 3)
      work.child.kill('SIGKILL')
      // resolves when its output is closed, which its children have inherited
      await work.exit()
      await waitFor('no session to be left', async () => (await sessions(queue.db)).length === 0, 3000)
    }
  })

  test('killed beside a task that catches cancels: its child does not outlive it for long', async (ctx) => {
    needsPostgres(14, ENDED_BY_OTHERS, ctx)
    const work = await queue.work(['--concurrency', '1'])
    const id = await queue.enqueue(`do $$ begin loop begin perform pg_sleep(0.1);
      exception when query_canceled then null; end; end loop; end $$`)
    await holderOf(queue, id)
    work.child.kill('SIGKILL')
    await work.exit()
    await waitFor('its sessions to end', async () => (await sessions(queue.db)).length === 0, 10_000)
    await waitFor('its processes to end', () => !workerPids(work).some(isAlive), 1000)
  })

  test('whose control connection is ended keeps its children, and can still cancel and time out what they run', async () => {
    const work = await queue.work(['--concurrency', '3'])
    const long = await queue.enqueue('select pg_sleep(60)')
    const slow = await queue.enqueue('select pg_sleep(60)', { timeout_in_sec: 4 })
    const sound = await queue.enqueue('insert into ledger select 1 from pg_sleep(3)')
    for (const id of [long, slow, sound]) await holderOf(queue, id)
    const control = (await sessions(queue.db)).find((s) => s.application_name.endsWith('supervisor'))!
    await queue.db.admin.query('select pg_terminate_backend($1)', [control.pid])
    const lostAt = now()
    await work.event((e) => e.event === 'database_back')
    tell('a control connection that was ended is back', lostAt)
    await queue.db.owner.query('select pg_background_cancel($1)', [long])
    await queue.reaches(long, 'cancelled')
    expect((await queue.reaches(slow, 'failed')).errors).toMatch(/Timed out after 4 s/)
    expect(await queue.reaches(sound, 'finished')).toMatchObject({ rescues: 0 })
    expect(await entries()).toBe(1)
    expect(workerPids(work)).toHaveLength(3)
    expect(await queue.count('select count(*) from background_queue.supervisors')).toBe(1)
    expect(await stop(work)).toBe(0)
  })

  test('survives a cancel of its own query, and its row taken out of the registry', async () => {
    const work = await queue.work(['--concurrency', '1'])
    const control = (await sessions(queue.db)).find((s) => s.application_name.endsWith('supervisor'))!
    await queue.db.owner.query('begin')
    await queue.db.owner.query('lock table background_queue.supervisors in access exclusive mode')
    await waitFor(
      'the control connection to wait',
      async () =>
        (
          await queue.db.admin.query(
            `select from pg_stat_activity where pid = $1 and wait_event_type = 'Lock'`,
            [control.pid],
          )
        ).length === 1,
    )
    await queue.db.admin.query('select pg_cancel_backend($1)', [control.pid])
    await work.event((e) => e.event === 'database_lost')
    await queue.db.owner.query('commit')
    await work.event((e) => e.event === 'database_back')
    await queue.db.owner.query('delete from background_queue.supervisors')
    await waitFor(
      'the supervisor to enter again',
      async () => (await queue.count('select count(*) from background_queue.supervisors')) === 1,
    )
    const id = await queue.enqueue('select 1')
    await queue.reaches(id, 'finished')
    expect(await stop(work)).toBe(0)
  })
})
