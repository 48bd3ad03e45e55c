import { expect, test } from 'vitest'
import { waitFor } from '../support/wait.js'
import { stop, useQueue } from './work-support.js'

const queue = useQueue()

test('a supervisor deletes closed tasks beyond the retention, part by part, and no others', async () => {
  await queue.set('retention_max_tasks', '5')
  await queue.set('paused', 'true', 'held')
  await queue.db.owner.query(`insert into pg_background_tasks (sql_statement, state, joined_at, started_at, closed_at)
    select 'select ' || n, 'finished', now(), now(), now() + n * interval '1 ms' from generate_series(1, 2500) n`)
  const waiting = await queue.enqueue('select 1', { topic: 'held' })
  const work = await queue.work(['--concurrency', '1'])
  const closed = () => queue.count(`select count(*) from pg_background_tasks where state = 'finished'`)
  await waitFor('only the newest to be left', async () => (await closed()) === 5)
  const kept = await queue.db.owner.query(
    `select sql_statement from pg_background_tasks where state = 'finished' order by closed_at`,
  )
  expect(kept.map((row) => row.sql_statement)).toEqual(
    [2496, 2497, 2498, 2499, 2500].map((n) => `select ${n}`),
  )
  expect((await queue.task(waiting)).state).toBe('pending')
  expect(await stop(work)).toBe(0)
})
