import { beforeAll, beforeEach, expect, test } from 'vitest'
import type { Database } from '../../src/engine/database/database.js'
import { useDatabase } from '../support/database.js'
import { ALICE } from '../support/names.js'
import { emptyQueueBeforeEach, failure, setParameter } from './sql-support.js'

const db = useDatabase()
emptyQueueBeforeEach(db)
beforeAll(async () => {
  await db.owner.query('select background_queue.grant_enqueue($1)', [ALICE])
})

/** An option that changes nothing which these tests look at. */
const OPTION = '{"max_retries": 3}'

/** Every way to add tasks, each with statements of its own inside: they have to agree. */
const WAYS: [string, (session: Database, topics: (string | null)[]) => Promise<unknown>][] = [
  ['one by one', (session, topics) => oneByOne(session, topics, null)],
  ['one by one with options', (session, topics) => oneByOne(session, topics, OPTION)],
  ['in a batch', (session, topics) => batch(session, topics, [])],
  [
    'in a batch with options',
    (session, topics) =>
      batch(
        session,
        topics,
        topics.map(() => OPTION),
      ),
  ],
  ['in a batch where one has options', (session, topics) => batch(session, topics, [null, OPTION])],
]

async function oneByOne(session: Database, topics: (string | null)[], options: string | null): Promise<void> {
  for (const [i, topic] of topics.entries())
    await session.query('select pg_background_enqueue($1, $2, $3)', [`select ${i}`, topic, options])
}

const batch = (session: Database, topics: (string | null)[], options: (string | null)[]) =>
  session.query('insert into background_queue.inbox_many (statements, topics, options) values ($1, $2, $3)', [
    topics.map((_, i) => `select ${i}`),
    topics,
    options,
  ])

const places = () =>
  db.owner.query('select sql_statement, topic, lane, priority from pg_background_tasks order by id')

test.each(WAYS)('finds lane and priority of each topic %s', async (_, add) => {
  await setParameter(db.owner, '/slow', 'delay_in_sec', '1')
  await setParameter(db.owner, '/slow', 'priority', '9')
  await setParameter(db.owner, '/it\'s "a"', 'priority', '-3')
  await setParameter(db.owner, '/paused', 'paused', 'true')
  await setParameter(db.owner, '/', 'max_parallel_running_tasks_count', '1')
  await setParameter(db.owner, '', 'priority', '50')
  await add(db.owner, ['slow', 'fast', null, 'it\'s "a"', '', 'paused', '日本', 'slow'])
  expect(await places()).toEqual([
    { sql_statement: 'select 0', topic: 'slow', lane: '/slow', priority: 9 },
    { sql_statement: 'select 1', topic: 'fast', lane: '', priority: 50 },
    { sql_statement: 'select 2', topic: null, lane: '/', priority: 50 },
    { sql_statement: 'select 3', topic: 'it\'s "a"', lane: '', priority: -3 },
    { sql_statement: 'select 4', topic: null, lane: '/', priority: 50 },
    { sql_statement: 'select 5', topic: 'paused', lane: '/paused', priority: 50 },
    { sql_statement: 'select 6', topic: '日本', lane: '', priority: 50 },
    { sql_statement: 'select 7', topic: 'slow', lane: '/slow', priority: 9 },
  ])
})

test.each(WAYS)('gives every topic a lane of its own while the queue has a delay, %s', async (_, add) => {
  await setParameter(db.owner, '', 'delay_in_sec', '1')
  await add(db.owner, ['a', null])
  expect(await places()).toEqual([
    { sql_statement: 'select 0', topic: 'a', lane: '/a', priority: 100 },
    { sql_statement: 'select 1', topic: null, lane: '/', priority: 100 },
  ])
})

test.each(WAYS)("takes a priority of the enqueuer's own session %s", async (_, add) => {
  const session = await db.session()
  await session.query(`set pg_background_queue.priority = '7'`)
  await add(session, ['a', null])
  await session.query(`reset pg_background_queue.priority`)
  await session.query(`set pg_background_queue.topic_config = '{"a": {"priority": 8}}'`)
  await add(session, ['a', null])
  expect((await places()).map(({ priority }) => priority)).toEqual([7, 7, 8, 100])
})

test.each(WAYS)('records the role that enqueued, and when, %s', async (_, add) => {
  await add(await db.session(ALICE), ['a', null])
  const rows = await db.owner.query(
    `select enqueued_by, enqueued_by_oid = enqueued_by::text::regrole as is_its, state, mode, run_at = joined_at as is_due
     from pg_background_tasks`,
  )
  const row = { enqueued_by: ALICE, is_its: true, state: 'pending', mode: 'auto', is_due: true }
  expect(rows).toEqual([row, row])
})

test.each(WAYS)('refuses a topic of 201 characters %s', async (_, add) => {
  const refused = await failure(add(db.owner, ['x'.repeat(201), 'a']))
  expect(refused).toMatchObject({
    sqlstate: 'PQ011',
    message: 'Expected a topic of 1 to 200 characters, got 201',
  })
  expect(await places()).toEqual([])
})

let session: Database
beforeEach(async () => {
  session = await db.session()
})

test('gives ids in the order of a batch whose options differ, each task its own', async () => {
  const options = Array.from({ length: 3000 }, (_, i) => (i % 3 ? `{"priority": ${i % 11}}` : null))
  const topics = options.map((_, i) => (i % 5 ? `topic ${i % 13}` : null))
  await batch(session, topics, options)
  const rows = await places()
  expect(rows.map((row) => row.sql_statement)).toEqual(topics.map((_, i) => `select ${i}`))
  expect(rows.map((row) => row.topic)).toEqual(topics)
  expect(rows.map((row) => row.priority)).toEqual(options.map((_, i) => (i % 3 ? i % 11 : 100)))
})

test('finds the first of a key in a batch, and later keys of other options', async () => {
  const key = (name: string, priority: number) => JSON.stringify({ unique_key: name, priority })
  await batch(session, [null, null, null, null], [key('a', 1), null, key('a', 2), key('b', 3)])
  const rows = await db.owner.query(
    'select sql_statement, priority, unique_key from pg_background_tasks order by id',
  )
  expect(rows).toEqual([
    { sql_statement: 'select 0', priority: 1, unique_key: 'a' },
    { sql_statement: 'select 1', priority: 100, unique_key: null },
    { sql_statement: 'select 3', priority: 3, unique_key: 'b' },
  ])
})

test('refuses options that are no object in a batch as it does one by one', async () => {
  for (const json of ['[]', '5', 'null']) {
    expect((await failure(batch(session, [null, null], [null, json]))).sqlstate).toBe('PQ012')
  }
  expect(await places()).toEqual([])
})
