import { beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import { install } from '../../src/engine/migrator.js'
import { schemaVersion } from '../../src/engine/sql-files.js'
import type { RunningWork } from '../support/cli.js'
import { waitFor } from '../support/wait.js'
import { eventsOf, holderOf, stop, useQueue } from './work-support.js'

const queue = useQueue()

beforeEach(async () => {
  await queue.db.owner.query('create table if not exists ledger (n integer); truncate ledger')
})
const unfinished = () =>
  queue.count(`select count(*) from pg_background_tasks where state in ('pending', 'running', 'retrying')`)

test('an install of the same version beside running workers costs no task anything', async () => {
  const work = await queue.work(['--concurrency', '4'])
  await queue.set('max_parallel_running_tasks_count', '2', 'limited')
  const installer = await queue.db.session()
  let installs = 0
  let isOver = false
  const flow = (async () => {
    for (let n = 0; !isOver; n++) {
      await queue.enqueueMany(
        [
          `insert into ledger values (${n * 4})`,
          `insert into ledger select ${n * 4 + 1} from pg_background_enqueue('insert into ledger values (${n * 4 + 2})')`,
          `insert into ledger select ${n * 4 + 3} from pg_background_queue_active_workers_count()`,
        ],
        n % 3 === 0 ? 'limited' : undefined,
      )
      await queue.db.owner.query('select pg_sleep(0.01)')
    }
    return queue.count('select count(*) from pg_background_tasks')
  })()
  for (; installs < 12; installs++) await install(installer)
  isOver = true
  await flow
  await waitFor('all to end', async () => (await unfinished()) === 0)
  const ended = await queue.db.owner.query<{ state: string; errors: string | null; count: bigint }>(
    'select state::text, errors, count(*) from pg_background_tasks group by 1, 2',
  )
  process.stdout.write(`${ended[0]?.count} tasks beside ${installs} installs\n`)
  expect(ended).toMatchObject([{ state: 'finished', errors: null }])
  expect(Number(ended[0]!.count)).toBeGreaterThan(30)
  expect(await queue.count('select count(*) from ledger')).toBe(Number(ended[0]!.count))
  expect(await queue.count('select count(distinct n) from ledger')).toBe(Number(ended[0]!.count))
  expect(await queue.count('select count(*) from background_queue.attempts')).toBe(0)
  expect(eventsOf(work, 'worker_gone')).toEqual([])
  expect(eventsOf(work, 'database_lost')).toEqual([])
  expect(await stop(work)).toBe(0)
})

test('an install waits for a task that holds locks of the queue, and neither is the victim of a deadlock', async () => {
  const work = await queue.work(['--concurrency', '1'])
  const id = await queue.enqueue(
    `do $$ begin perform count(*) from pg_background_tasks; perform pg_sleep(1.5);
       perform pg_background_enqueue('select 1'); perform pg_sleep(0.5); perform pg_background_enqueue('select 2'); end $$`,
  )
  await holderOf(queue, id)
  await install(await queue.db.session())
  expect((await queue.task(id)).state).toBe('finished')
  await waitFor('the others', async () => (await unfinished()) === 0)
  expect(await queue.count('select count(*) from background_queue.attempts')).toBe(0)
  expect(await stop(work)).toBe(0)
})

describe('a newer program that upgrades the queue', () => {
  /** What it makes of our functions is its own affair; after the test ours are back. */
  async function upgrade(change: string): Promise<void> {
    onTestFinished(async () => {
      await queue.db.owner.query('delete from background_queue.migrations where version > 900')
      await install(queue.db.owner)
    })
    await queue.db.owner.query(`begin;
      insert into background_queue.migrations (version, name) values (901, '0901_later');
      ${change};
      notify background_queue, 'installed';
      commit`)
  }
  const refusal = async (work: RunningWork) => {
    expect(await work.exit()).toBe(1)
    const reason = `The queue was brought to schema version 901 by a newer pgbq; this one knows ${schemaVersion()}`
    expect(eventsOf(work, 'stopping')).toMatchObject([{ reason }])
    return { reason, output: work.stderr() + JSON.stringify(work.events().at(-1)) }
  }

  test.each([
    ['keeps our functions', 'select'],
    ['drops what the supervisor calls', 'drop function background_queue.tick, background_queue.bury_worker'],
    [
      'changes what a tick gives',
      `drop function background_queue.tick; create function background_queue.tick(bigint, boolean, name[])
       returns text language sql as $f$ select 'other'::text $f$`,
    ],
  ])(
    'and %s: the old supervisor says so and leaves; what ran is recorded, nothing more is claimed',
    async (_, change) => {
      const work = await queue.work(['--concurrency', '2'])
      await queue.db.owner.query('select pg_advisory_lock(1)')
      const running = await queue.enqueue(
        'insert into ledger select 1 from (select pg_advisory_lock_shared(1)) l',
      )
      await holderOf(queue, running)
      await upgrade(change)
      await work.event((e) => e.event === 'stopping')
      const later = await queue.enqueue('select 1')
      await queue.db.owner.query('select pg_advisory_unlock(1)')
      const { output, reason } = await refusal(work)
      expect(output).toContain(reason)
      expect(output).toContain('restart pgbq work with the new version')
      expect((await queue.task(running)).state).toBe('finished')
      expect((await queue.task(later)).state).toBe('pending')
    },
  )

  test('and drops what workers call: what ran is not recorded, not blamed, and not lost', async () => {
    const work = await queue.work(['--concurrency', '2', '--shutdown-timeout', '1s'])
    await queue.db.owner.query('select pg_advisory_lock(1)')
    const ends = await queue.enqueue('insert into ledger select 1 from (select pg_advisory_lock_shared(1)) l')
    const lasts = await queue.enqueue('insert into ledger select 2 from pg_sleep(60)')
    for (const id of [ends, lasts]) await holderOf(queue, id)
    await upgrade(
      `do $f$ declare f regprocedure; begin for f in select p.oid from pg_proc p
         where p.pronamespace = 'background_queue'::regnamespace and p.proname in ('tick', 'claim', 'finish', 'fail',
           'release', 'bury_worker', 'request_end') loop execute 'drop function ' || f; end loop; end $f$`,
    )
    await work.event((e) => e.event === 'stopping')
    await queue.db.owner.query('select pg_advisory_unlock(1)')
    await refusal(work)
    await queue.db.owner.query('delete from background_queue.migrations where version > 900')
    await install(queue.db.owner)
    const next = await queue.work(['--concurrency', '1'])
    await queue.reaches(ends, 'finished')
    await holderOf(queue, lasts)
    expect(await queue.db.owner.query('select n from ledger')).toEqual([{ n: 1 }])
    for (const id of [ends, lasts])
      expect(await queue.task(id)).toMatchObject({ worker_deaths: 0, retry_count: 0 })
    await queue.db.owner.query('select pg_background_cancel($1)', [lasts])
    await queue.reaches(lasts, 'cancelled')
    expect(await stop(next)).toBe(0)
  })
})
