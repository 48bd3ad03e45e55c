import { afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest'
import { Database } from '../../src/engine/database/database.js'
import { QueueLook } from '../../src/engine/metrics/queue-look.js'
import type { Picture } from '../../src/engine/watch/picture.js'
import { useDatabase } from '../support/database.js'
import { waitFor } from '../support/wait.js'

const db = useDatabase()
let look: QueueLook

/** More closed tasks than are counted, more that wait than are counted, and one that waits behind all others. */
beforeAll(async () => {
  await db.owner.query(`insert into pg_background_tasks (sql_statement, topic, state, started_at, closed_at)
    select repeat('x', 200), 'done', 'finished', now(), now() from generate_series(1, 50000) i`)
  await db.owner.query(`insert into pg_background_tasks (sql_statement, topic, run_at)
    select 'select 1', 'crowd', now() - interval '1 minute' from generate_series(1, 11000) i`)
  await db.owner.query(`insert into pg_background_tasks (sql_statement, topic, priority, run_at)
    values ('select 1', 'starved', 9999, now() - interval '5 hours')`)
  await db.admin.query('vacuum analyze pg_background_tasks')
})
beforeEach(() => {
  vi.useFakeTimers({ toFake: ['performance'] })
  look = new QueueLook(db.target())
})
afterEach(async () => {
  vi.restoreAllMocks()
  vi.useRealTimers()
  await look.close()
})

const SESSION = `from pg_stat_activity
  where datname = current_database() and application_name = 'pg_background_queue metrics'`
const later = () => vi.advanceTimersByTime(1500)
const dueOf = (picture: Picture, topic: string) => picture.topics.find((t) => t.topic === topic)?.due

test('a look is one query, and those who ask within a second share it', async () => {
  await look.picture()
  const query = vi.spyOn(Database.prototype, 'query')
  const [first, second] = [look.picture(), look.picture()]
  expect(await first).toBe(await second)
  expect(query).not.toHaveBeenCalled()
  later()
  await Promise.all([look.picture(), look.picture(), look.picture()])
  expect(query).toHaveBeenCalledTimes(1)
})

test('the oldest due task is found however many wait before it', async () => {
  const picture = await look.picture()
  expect(picture.topics.find((t) => t.topic === 'crowd')?.states.pending.isEstimate).toBe(true)
  expect(dueOf(picture, 'starved')).toBeGreaterThan(5 * 3600 - 60)
  expect(dueOf(picture, 'crowd')).toBeGreaterThan(59)
})

test('a session that was lost is opened anew', async () => {
  await look.picture()
  await db.admin.query(`select pg_terminate_backend(pid) ${SESSION}`)
  await waitFor(
    'the session to be gone',
    async () => (await db.admin.query(`select ${SESSION}`)).length === 0,
  )
  const seen = await waitFor('the queue to be seen again', () => {
    later()
    return look.picture().catch(() => undefined)
  })
  expect(seen.topics.length).toBeGreaterThan(0)
})

test('a server that does not answer is not waited for, and asked again', async () => {
  await look.picture()
  await db.admin.query('begin')
  await db.admin.query('lock table background_queue.workers in access exclusive mode')
  later()
  await expect(look.picture()).rejects.toThrow(/has not answered for 3 s/)
  await db.admin.query('rollback')
  later()
  expect((await look.picture()).topics.length).toBeGreaterThan(0)
})
