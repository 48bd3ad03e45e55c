import { expect, test } from 'vitest'
import { useDatabase } from '../support/database.js'
import { emptyQueueBeforeEach, enqueue, setParameter, startWorker } from './sql-support.js'

const db = useDatabase()
emptyQueueBeforeEach(db)

/** Closed tasks, one for each age in days, and one that waits. */
async function closedTasks(ages: number[]): Promise<void> {
  await db.owner.query(
    `insert into pg_background_tasks (sql_statement, state, joined_at, closed_at)
     select age::text, (array['failed', 'finished', 'cancelled'])[1 + n % 3]::pg_background_queue_task_state,
       now() - interval '1 year', now() - age * interval '1 day'
     from unnest($1::integer[]) with ordinality a(age, n)`,
    [ages],
  )
  await db.owner.query(
    `insert into pg_background_tasks (sql_statement, joined_at, run_at)
     values ('waits', now() - interval '1 year', now() - interval '1 year')`,
  )
}

const prune = async (limit = 1000) =>
  (await db.owner.one<{ n: number }>('select background_queue.prune($1) as n', [limit])).n
const left = async () =>
  (
    await db.owner.query<{ sql_statement: string }>(
      'select sql_statement from pg_background_tasks order by id',
    )
  ).map((row) => row.sql_statement)

test('prunes closed tasks older than 30 days, and nothing that waits', async () => {
  await closedTasks([29, 31, 300, 0])
  expect(await prune()).toBe(2)
  expect(await left()).toEqual(['29', '0', 'waits'])
})

test('prunes by the age that is set, also part of a day, and not at all at 0', async () => {
  await closedTasks([1, 2, 4000])
  await setParameter(db.owner, '', 'retention_in_days', '0')
  expect(await prune()).toBe(0)
  await setParameter(db.owner, '', 'retention_in_days', '1.5')
  expect(await prune()).toBe(2)
  expect(await left()).toEqual(['1', 'waits'])
})

test('prunes the oldest beyond the number that is set', async () => {
  await closedTasks([1, 5, 3, 2, 4])
  await setParameter(db.owner, '', 'retention_max_tasks', '2')
  expect(await prune()).toBe(3)
  expect(await left()).toEqual(['1', '2', 'waits'])
})

test('prunes by age and number together, in batches', async () => {
  await closedTasks([40, 1, 2, 3, 4])
  await setParameter(db.owner, '', 'retention_max_tasks', '2')
  expect([await prune(2), await prune(2), await prune(2)]).toEqual([2, 1, 0])
  expect(await left()).toEqual(['1', '2', 'waits'])
})

test('prunes past a closed task that somebody holds', async () => {
  await closedTasks([50, 40])
  const other = await db.session()
  await other.query('begin')
  await other.query(`select from pg_background_tasks where sql_statement = '50' for update`)
  expect(await prune()).toBe(1)
  await other.query('rollback')
  expect(await left()).toEqual(['50', 'waits'])
})

async function twoFailed(): Promise<void> {
  const worker = await startWorker(db)
  for (let i = 0; i < 2; i++) {
    await enqueue(db.owner)
    await worker.fail(await worker.take())
  }
  expect(await attempts()).toHaveLength(2)
}

const attempts = () => db.owner.query('select task_id from background_queue.attempts order by id')

test('takes the attempts of a deleted task along, and no others', async () => {
  await twoFailed()
  const [first] = await attempts()
  await db.owner.query('delete from pg_background_tasks where id <> $1', [first!.task_id])
  expect(await attempts()).toEqual([first])
})

test('takes all attempts and cancel requests along with a TRUNCATE', async () => {
  await twoFailed()
  await db.owner.query('insert into background_queue.cancel_requests values (1, current_user)')
  await db.owner.query('truncate pg_background_tasks')
  expect(await attempts()).toEqual([])
  expect(await db.owner.query('select from background_queue.cancel_requests')).toEqual([])
})

test('keeps the attempts of a task whose deletion was rolled back', async () => {
  await twoFailed()
  await db.owner.query('begin')
  await db.owner.query('truncate pg_background_tasks')
  await db.owner.query('rollback')
  expect(await attempts()).toHaveLength(2)
})
