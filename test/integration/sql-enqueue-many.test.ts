import { expect, test } from 'vitest'
import type { Database } from '../../src/engine/database/database.js'
import { useDatabase } from '../support/database.js'
import { waitFor } from '../support/wait.js'
import { emptyQueueBeforeEach, enqueue, failure, registerSupervisor, setParameter } from './sql-support.js'

const db = useDatabase()
emptyQueueBeforeEach(db)

async function enqueueMany(
  session: Database,
  statements: (string | null)[],
  topics: (string | null)[] = [],
  options: (string | null)[] = [],
) {
  return session.one<{ first_id: bigint | null; last_id: bigint | null; added: bigint }>(
    `insert into background_queue.inbox_many (statements, topics, options) values ($1, $2, $3)
     returning first_id, last_id, added`,
    [statements, topics, options],
  )
}

const count = async () =>
  (await db.owner.one<{ n: number }>('select count(*)::integer as n from pg_background_tasks')).n

test('gives ids in the order of a batch across many topics', async () => {
  const statements = Array.from({ length: 3000 }, (_, i) => `select ${i}`)
  const topics = statements.map((_, i) => (i % 7 === 0 ? null : `topic ${i % 31}`))
  const ids = await enqueueMany(db.owner, statements, topics)
  expect(ids.added).toBe(3000n)
  const rows = await db.owner.query<{ id: bigint; sql_statement: string; topic: string | null }>(
    'select id, sql_statement, topic from pg_background_tasks order by id',
  )
  expect(rows.map((row) => row.sql_statement)).toEqual(statements)
  expect(rows.map((row) => row.topic)).toEqual(topics)
  expect([rows[0]!.id, rows.at(-1)!.id]).toEqual([ids.first_id, ids.last_id])
})

test('gives each task of a batch its options, lane and priority', async () => {
  await setParameter(db.owner, '/slow', 'delay_in_sec', '1')
  await setParameter(db.owner, '/slow', 'priority', '9')
  await enqueueMany(
    db.owner,
    ['select 1', 'select 2', 'select 3'],
    ['slow', '', 'fast'],
    ['{"priority": 5}', null, '{"max_retries": 2}'],
  )
  await enqueueMany(db.owner, ['select 4'], ['slow'])
  const rows = await db.owner.query(
    'select topic, lane, priority, max_retries, mode from pg_background_tasks order by id',
  )
  expect(rows).toEqual([
    { topic: 'slow', lane: '/slow', priority: 5, max_retries: null, mode: 'auto' },
    { topic: null, lane: '', priority: 100, max_retries: null, mode: 'auto' },
    { topic: 'fast', lane: '', priority: 100, max_retries: 2, mode: 'auto' },
    { topic: 'slow', lane: '/slow', priority: 9, max_retries: null, mode: 'auto' },
  ])
})

test.each([
  ['a blank statement', ['select 1', ' ', 'select 3'], [], [], 'PQ010'],
  ['a NULL statement', ['select 1', null], [], [], 'PQ010'],
  ['a topic of 201 characters', ['select 1', 'select 2'], [null, 'x'.repeat(201)], [], 'PQ011'],
  ['a bad option', ['select 1', 'select 2'], [], [null, '{"mode": "x"}'], 'PQ012'],
  ['an unknown option', ['select 1', 'select 2'], [], [null, '{"x": 1}'], 'PQ012'],
  ['more topics than statements', ['select 1'], [null, 'a'], [], 'PQ010'],
  ['more options than statements', ['select 1'], [], [null, '{"priority": 1}'], 'PQ010'],
])('adds nothing of a batch with %s', async (_, statements, topics, options, sqlstate) => {
  const refused = await failure(enqueueMany(db.owner, statements, topics, options))
  expect(refused.sqlstate).toBe(sqlstate)
  expect(await count()).toBe(0)
})

test('counts in a batch only what it added, not keys that exist', async () => {
  await enqueue(db.owner, 'select 0', null, { unique_key: 'a' })
  const key = (name: string) => JSON.stringify({ unique_key: name })
  const ids = await enqueueMany(
    db.owner,
    ['select 1', 'select 2', 'select 3'],
    [],
    [key('a'), key('b'), key('b')],
  )
  expect(ids.added).toBe(1n)
  expect(ids.first_id).toBe(ids.last_id)
  expect(await count()).toBe(2)
})

test.each([
  ['of one', ['select 1'], []],
  ['of one that is new', ['select 1', 'select 2'], ['{"unique_key": "a"}', '{"unique_key": "a"}']],
])('gives first and last id of a batch %s', async (_, statements, options) => {
  const ids = await enqueueMany(db.owner, statements, [], options)
  const { id } = await db.owner.one<{ id: bigint }>('select id from pg_background_tasks')
  expect(ids).toEqual({ first_id: id, last_id: id, added: 1n })
})

test('takes an empty batch for nothing to do', async () => {
  expect(await enqueueMany(db.owner, [])).toEqual({ first_id: null, last_id: null, added: 0n })
})

/** What a listener hears of `work`: the payloads between two marks of its own. */
async function heard(work: (session: Database) => Promise<unknown>): Promise<string[]> {
  const listener = await db.session()
  const session = await db.session()
  const payloads: string[] = []
  listener.onNotification((payload) => payloads.push(payload))
  await listener.query('listen background_queue')
  await work(session)
  await session.query(`select pg_notify('background_queue', 'end')`)
  await waitFor('the mark', () => payloads.at(-1) === 'end')
  await listener.query('unlisten *')
  return payloads.slice(0, -1)
}

test('wakes supervisors once a transaction, however many tasks it enqueues', async () => {
  await registerSupervisor(db.owner)
  const payloads = await heard(async (session) => {
    await session.query('begin')
    await enqueue(session)
    await enqueue(session, 'select 1', 'a')
    await enqueueMany(session, ['select 1', 'select 2', 'select 3'])
    await session.query(`insert into pg_background_tasks (sql_statement) values ('select 1'), ('select 2')`)
    await session.query('commit')
    await enqueue(session)
  })
  expect(payloads).toEqual(['due', 'due'])
})

test.each([
  ['calls', 'select pg_background_enqueue(s) from unnest($1::text[]) s'],
  [
    'calls with options',
    `select pg_background_enqueue(s, null, '{"priority": 1}') from unnest($1::text[]) s`,
  ],
  ['a batch', 'insert into background_queue.inbox_many (statements) values ($1)'],
])('asks once a transaction whether to wake, for many tasks of %s', async (_, sql) => {
  const calls = async (): Promise<number> => {
    const sql = `select coalesce(pg_stat_get_xact_function_calls('background_queue.wake()'::regprocedure), 0) as calls`
    return Number((await db.admin.one<{ calls: bigint }>(sql)).calls)
  }
  await db.admin.query(`begin; set local track_functions = 'all'`)
  const before = await calls()
  await db.admin.query(sql, [['select 1', 'select 2', 'select 3', 'select 4']])
  await db.admin.query('set constraints all immediate')
  const after = await calls()
  await db.admin.query('rollback')
  expect(after - before).toBe(1)
})

test('wakes at the commit of a task whose savepoint was kept, and not for one rolled back', async () => {
  await registerSupervisor(db.owner)
  const rolledBack = await heard(async (session) => {
    await session.query('begin; savepoint s')
    await enqueue(session)
    await session.query('rollback to s; commit')
  })
  expect(rolledBack).toEqual([])
  const kept = await heard(async (session) => {
    await session.query('begin; savepoint s')
    await enqueue(session)
    await session.query('rollback to s')
    await enqueue(session)
    await session.query('commit')
  })
  expect(kept).toEqual(['due'])
})

test("wakes for the owner's plain INSERT", async () => {
  await registerSupervisor(db.owner)
  const payloads = await heard((session) =>
    session.query(`insert into pg_background_tasks (sql_statement) values ('select 1')`),
  )
  expect(payloads).toEqual(['due'])
})

test('wakes nobody while no supervisor wants it', async () => {
  expect(await heard(enqueue)).toEqual([])
  await registerSupervisor(db.owner, null, false)
  expect(await heard(enqueue)).toEqual([])
})

test.each(['read committed', 'repeatable read', 'serializable'])(
  'wakes a supervisor that came to rest while the enqueuer had not yet committed, under %s',
  async (isolation) => {
    const supervisorId = await registerSupervisor(db.owner, null, false)
    const payloads = await heard(async (session) => {
      await session.query(`begin isolation level ${isolation}`)
      await enqueue(session)
      await db.owner.query('update background_queue.supervisors set wants_wake = true where id = $1', [
        supervisorId,
      ])
      await session.query('select pg_sleep(0.1)')
      await session.query('commit')
    })
    expect(payloads).toEqual(['due'])
  },
)
