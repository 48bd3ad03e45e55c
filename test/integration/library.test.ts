import pg from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  cancel,
  type EnqueueOptions,
  enqueue,
  enqueueMany,
  findTask,
  QueueError,
  retry,
} from '../../src/library.js'
import { useDatabase } from '../support/database.js'
import { ALICE, OWNER } from '../support/names.js'

const database = useDatabase()
const empty = useDatabase({ isEmpty: true })
const opened: (pg.Client | pg.Pool)[] = []

async function connect(config: pg.ClientConfig): Promise<pg.Client> {
  const client = new pg.Client(config)
  opened.push(client)
  await client.connect()
  return client
}

let client: pg.Client
beforeAll(async () => {
  client = await connect({ connectionString: database.url() })
})
afterAll(async () => {
  await Promise.all(opened.map((connection) => connection.end()))
})

const countTasks = async (): Promise<bigint> =>
  (await database.owner.one<{ n: bigint }>('select count(*) as n from pg_background_tasks')).n

/** What `work` is refused with, as an application sees it. */
async function refusal(work: Promise<unknown>): Promise<QueueError> {
  const error = await work.then(
    () => undefined,
    (e: unknown) => e,
  )
  expect(error).toBeInstanceOf(QueueError)
  return error as QueueError
}

describe('enqueue', () => {
  test('leaves no task behind when the transaction of the application is rolled back', async () => {
    const before = await countTasks()
    await client.query('begin')
    const { id } = await enqueue(client, 'select 1')
    await enqueueMany(client, [{ sql: 'select 2' }, { sql: 'select 3' }])
    expect((await findTask(client, id)).state).toBe('pending')
    await client.query('rollback')
    expect(await countTasks()).toBe(before)
    expect((await refusal(findTask(client, id))).code).toBe('UNKNOWN_TASK')
  })

  test('adds a task with every option at the commit', async () => {
    await client.query('begin')
    const { id, existing } = await enqueue(client, 'select 1', {
      topic: 'mail',
      priority: -5,
      runAt: new Date('2099-01-02T03:04:05.678Z'),
      maxRetries: 3,
      timeoutInSec: 1.5,
      uniqueKey: 'k1',
      mode: 'transaction',
      isolation: 'serializable',
    })
    await client.query('commit')
    expect(existing).toBe(false)
    expect(typeof id).toBe('bigint')
    expect(await findTask(client, id)).toMatchObject({
      id,
      sql_statement: 'select 1',
      topic: 'mail',
      state: 'pending',
      priority: -5,
      run_at: '2099-01-02T03:04:05.678Z',
      max_retries: 3,
      timeout_in_sec: 1.5,
      unique_key: 'k1',
      mode: 'transaction',
      isolation: 'serializable',
      enqueued_by: OWNER,
    })
  })

  test('names the task that has the unique key already', async () => {
    const first = await enqueue(client, 'select 1', { uniqueKey: 'once' })
    expect(await enqueue(client, 'select 2', { uniqueKey: 'once' })).toEqual({ id: first.id, existing: true })
  })

  test('reads its answers whatever the application makes of types', async () => {
    const odd = await connect({
      connectionString: database.url(),
      types: { getTypeParser: () => () => 'theirs' },
    })
    const { id } = await enqueue(odd, 'select 1')
    expect((await findTask(odd, String(id))).id).toBe(id)
    expect((await odd.query('select 1 as one')).rows).toEqual([{ one: 'theirs' }])
  })

  test('takes a pool, and a client of a pool', async () => {
    const pool = new pg.Pool({ connectionString: database.url(), max: 1 })
    opened.push(pool)
    const { id } = await enqueue(pool, 'select 1')
    const member = await pool.connect()
    const next = await enqueue(member, 'select 1')
    member.release()
    expect(next.id).toBeGreaterThan(id)
  })

  test.each([
    ['blank SQL', ' \n', {}, 'BLANK_SQL'],
    ['a NUL byte', 'select 1\0', {}, 'NUL_BYTE'],
    ['an option that is none', 'select 1', { retries: 3 }, 'INVALID_OPTION'],
    ['a name of Object as an option', 'select 1', { constructor: 3 }, 'INVALID_OPTION'],
    ['a text that is no time', 'select 1', { runAt: 'soon' }, 'INVALID_TIME'],
    ['an invalid Date', 'select 1', { runAt: new Date('soon') }, 'INVALID_TIME'],
  ])(
    'refuses %s before anything is sent, so that the transaction stays usable',
    async (_, sql, options, code) => {
      await client.query('begin')
      expect((await refusal(enqueue(client, sql, options as EnqueueOptions))).code).toBe(code)
      expect((await refusal(enqueueMany(client, [{ sql, ...(options as EnqueueOptions) }]))).code).toBe(code)
      expect((await client.query('select 1 as one')).rows).toEqual([{ one: 1 }])
      await client.query('rollback')
    },
  )

  test.each([
    ['a topic of 201 characters', { topic: 'x'.repeat(201) }, 'INVALID_TOPIC'],
    ['a broken priority', { priority: 1.5 }, 'INVALID_OPTION'],
    ['retries beyond 1000', { maxRetries: 1001 }, 'INVALID_OPTION'],
    ['a time below 0', { timeoutInSec: -1 }, 'INVALID_OPTION'],
  ])('passes on that the queue refuses %s', async (_, options, code) => {
    expect((await refusal(enqueue(client, 'select 1', options))).code).toBe(code)
  })

  test('says where there is no queue', async () => {
    const lost = await connect({ connectionString: empty.url() })
    const error = await refusal(enqueue(lost, 'select 1'))
    expect(error).toMatchObject({
      code: 'NOT_INSTALLED',
      message: `The queue is not installed in database "${empty.name}"`,
      hint: 'pgbq install',
    })
    expect((await refusal(cancel(lost, 1n))).code).toBe('NOT_INSTALLED')
  })

  test('says that a role may not enqueue', async () => {
    const alice = await connect({ connectionString: database.url(ALICE) })
    expect((await refusal(enqueue(alice, 'select 1'))).code).toBe('NOT_ALLOWED')
  })

  test('says that a transaction is read-only', async () => {
    await client.query('begin read only')
    expect((await refusal(enqueue(client, 'select 1'))).code).toBe('READ_ONLY')
    await client.query('rollback')
  })

  test('leaves what is no rule of the queue as the application knows it from pg', async () => {
    await client.query('begin')
    await client.query('select 1/0').catch(() => undefined)
    await expect(enqueue(client, 'select 1')).rejects.toMatchObject({ name: 'error', code: '25P02' })
    await client.query('rollback')
  })
})

describe('enqueueMany', () => {
  test('adds all in one statement and leaves out what is there', async () => {
    const { first, last, count } = await enqueueMany(client, [
      { sql: 'select 1', topic: 'many' },
      { sql: 'select 2', uniqueKey: 'many' },
      { sql: 'select 3', uniqueKey: 'many' },
    ])
    expect(count).toBe(2n)
    expect((await findTask(client, first!)).topic).toBe('many')
    expect(last! > first!).toBe(true)
  })

  test('adds nothing of an empty list', async () => {
    expect(await enqueueMany(client, [])).toEqual({ first: null, last: null, count: 0n })
  })
})

describe('cancel and retry', () => {
  test('are part of the transaction', async () => {
    const { id } = await enqueue(client, 'select 1')
    await client.query('begin')
    expect(await cancel(client, id)).toMatchObject({ id, done: true, state: 'cancelled' })
    await client.query('rollback')
    expect((await findTask(client, id)).state).toBe('pending')
    expect(await cancel(client, id)).toMatchObject({ done: true })
    expect(await cancel(client, id)).toMatchObject({ done: false, state: 'cancelled' })
    expect(await retry(client, id)).toMatchObject({ done: true, state: 'pending' })
    expect(await retry(client, id)).toMatchObject({ done: false, state: 'pending' })
  })

  test('say that there is no such task', async () => {
    expect(await cancel(client, 9223372036854775807n)).toMatchObject({ done: false, state: null })
    expect(await retry(client, '9223372036854775807')).toMatchObject({ done: false, state: null })
  })

  test('refuse a retry where another task has the unique key by now', async () => {
    const { id } = await enqueue(client, 'select 1', { uniqueKey: 'taken' })
    await cancel(client, id)
    await enqueue(client, 'select 2', { uniqueKey: 'taken' })
    expect((await refusal(retry(client, id))).code).toBe('RETRY_REFUSED')
  })

  test.each(['', '-1', '1.5', '0x10', '9223372036854775808'])('refuse the id "%s"', async (id) => {
    for (const act of [cancel, retry, findTask])
      expect((await refusal(act(client, id))).code).toBe('INVALID_ID')
  })
})
