import { beforeEach, describe, expect, test } from 'vitest'
import type { RunningWork } from '../support/cli.js'
import { waitFor } from '../support/wait.js'
import { eventsOf, holderOf, isAlive, stop, useQueue, workerPids } from './work-support.js'

const queue = useQueue()
const LEDGER = 'insert into ledger select 1 from pg_sleep(1)'

beforeEach(async () => {
  await queue.db.owner.query('create table if not exists ledger (n integer); truncate ledger')
})
const entries = () => queue.count('select count(*) from ledger')
const tell = (what: string, since: number) =>
  process.stdout.write(`${what}: ${Math.round(performance.now() - since)} ms\n`)

describe('a worker that is frozen', () => {
  test('in a statement, between statement and commit, or idle is killed; its task runs again, no death is counted', async () => {
    const work = await queue.work(['--concurrency', '3', '--warm', '3'])
    await queue.db.owner.query('select pg_advisory_lock(1)')
    const inStatement = await queue.enqueue('insert into ledger select 1 from pg_sleep(12)')
    const beforeCommit = await queue.enqueue(
      'insert into ledger select 2 from (select pg_advisory_lock_shared(1)) l',
    )
    const held = [await holderOf(queue, inStatement), await holderOf(queue, beforeCommit)]
    const frozen = workerPids(work)
    for (const pid of frozen) process.kill(pid, 'SIGSTOP')
    const frozenAt = performance.now()
    await queue.db.owner.query('select pg_advisory_unlock(1)')
    await waitFor(
      'the backend to wait for its frozen client',
      async () =>
        (
          await queue.db.admin.query(
            `select from pg_stat_activity where pid = $1 and state = 'idle in transaction'`,
            [held[1]!.backend_pid],
          )
        ).length === 1,
    )
    await waitFor('three replacements', () => workerPids(work).length === 6)
    await queue.reaches(beforeCommit, 'finished')
    tell('a task frozen before its commit is done', frozenAt)
    await holderOf(queue, inStatement)
    tell('a task frozen in its statement runs again', frozenAt)
    expect(performance.now() - frozenAt).toBeLessThan(12_000)
    expect(frozen.some(isAlive)).toBe(false)
    for (const gone of eventsOf(work, 'worker_gone'))
      expect(gone).toMatchObject({
        reason: expect.stringMatching(/did not respond for [56] s/),
        is_expected: false,
      })
    for (const id of [inStatement, beforeCommit])
      expect(await queue.task(id)).toMatchObject({ rescues: 1, worker_deaths: 0, retry_count: 0 })
    expect((await queue.attempts(inStatement))[0]?.message).toMatch(/Worker \d+ \(pid \d+\) did not respond/)
    await queue.db.owner.query('select pg_background_cancel($1)', [inStatement])
    await queue.reaches(inStatement, 'cancelled')
    expect(await queue.db.owner.query('select n from ledger')).toEqual([{ n: 2 }])
    expect(await stop(work)).toBe(0)
  })

  test('for a moment only goes on with its task', async () => {
    const work = await queue.work(['--concurrency', '1'])
    const id = await queue.enqueue(LEDGER)
    const { pid } = await holderOf(queue, id)
    process.kill(pid, 'SIGSTOP')
    await queue.db.owner.query('select pg_sleep(2.5)')
    expect((await queue.task(id)).state).toBe('running')
    process.kill(pid, 'SIGCONT')
    expect(await queue.reaches(id, 'finished')).toMatchObject({ rescues: 0 })
    expect(eventsOf(work, 'worker_gone')).toEqual([])
    expect(await stop(work)).toBe(0)
  })
})

test('a supervisor and a whole host that are frozen lose their tasks; thawed, they commit nothing, count no death, work again', async () => {
  await queue.db.owner.query('select pg_advisory_lock(1)')
  const frozen: RunningWork[] = []
  const ids: bigint[] = []
  const pids: number[] = []
  for (const isWholeHost of [false, true]) {
    frozen.push(await queue.work(['--concurrency', '1']))
    ids.push(await queue.enqueue('insert into ledger select 1 from (select pg_advisory_lock_shared(1)) l'))
    const { pid } = await holderOf(queue, ids.at(-1)!)
    pids.push(frozen.at(-1)!.pid, ...(isWholeHost ? [pid] : []))
  }
  const other = await queue.work(['--concurrency', '2'])
  for (const pid of pids) process.kill(pid, 'SIGSTOP')
  const frozenAt = performance.now()
  await waitFor('both tasks to run again', () => eventsOf(other, 'claimed').length === 2)
  tell('tasks of a frozen supervisor and of a frozen host run again', frozenAt)
  expect(performance.now() - frozenAt).toBeLessThan(9000)
  await queue.db.owner.query('select pg_advisory_unlock(1)')
  for (const pid of pids) process.kill(pid, 'SIGCONT')
  for (const work of frozen) await waitFor('a new worker of the thawed', () => workerPids(work).length === 2)
  for (const id of ids) {
    const task = await queue.reaches(id, 'finished')
    expect(task).toMatchObject({ rescues: 1, worker_deaths: 0, retry_count: 0 })
  }
  expect(await entries()).toBe(2)
  expect(await stop(other)).toBe(0)
  for (const work of frozen) {
    await queue.reaches(await queue.enqueue('select 1'), 'finished')
    expect(await stop(work)).toBe(0)
  }
})
