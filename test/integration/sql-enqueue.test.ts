import { expect, test } from 'vitest'
import { useDatabase } from '../support/database.js'
import { collectWarnings, emptyQueueBeforeEach, enqueue, failure, findTask } from './sql-support.js'

const db = useDatabase()
emptyQueueBeforeEach(db)

test('takes a task away with the transaction that enqueued it', async () => {
  await db.owner.query('begin')
  await enqueue(db.owner)
  await db.owner.query('rollback')
  expect(await db.owner.query('select from pg_background_tasks')).toEqual([])
})

test('shows a task to others only at the commit', async () => {
  const other = await db.session()
  await db.owner.query('begin')
  const id = await enqueue(db.owner)
  expect(await other.query('select id from pg_background_tasks')).toEqual([])
  await db.owner.query('commit')
  expect(await other.query('select id from pg_background_tasks')).toEqual([{ id }])
})

test('records a new task as pending, due now, of the role that enqueued it', async () => {
  const id = await enqueue(db.owner, 'select 1', 'reports')
  expect(await findTask(db, id)).toMatchObject({
    sql_statement: 'select 1',
    topic: 'reports',
    started_at: null,
    closed_at: null,
    priority: 100,
    state: 'pending',
    retry_count: 0,
    retry_delay_in_sec: 0,
    errors: null,
    enqueued_by: 'pgbq_owner',
    max_retries: null,
    timeout_in_sec: null,
    mode: 'auto',
    isolation: null,
    unique_key: null,
  })
  const [due] = await db.owner.query(
    'select run_at = joined_at and run_at <= clock_timestamp() as now from pg_background_tasks',
  )
  expect(due).toEqual({ now: true })
})

test('keeps the eleven columns of the extension first and in order', async () => {
  const rows = await db.owner.query<{ attname: string }>(
    `select attname::text from pg_attribute where attrelid = 'pg_background_tasks'::regclass and attnum between 1 and 11 order by attnum`,
  )
  expect(rows.map((row) => row.attname).join(' ')).toBe(
    'id sql_statement topic joined_at started_at closed_at priority state retry_count retry_delay_in_sec errors',
  )
})

test('says nothing beyond the id', async () => {
  const session = await db.session()
  const notices: string[] = []
  session.onNotice(({ message }) => notices.push(message))
  await enqueue(session, 'select 1', 'reports', { priority: 5 })
  expect(notices).toEqual([])
})

test.each([
  ['NULL', null],
  ['an empty text', ''],
  ['blanks, tabs and line ends', ' \t\r\n\f\v '],
])('refuses %s as SQL', async (_, sql) => {
  const refused = await failure(db.owner.query('select pg_background_enqueue($1)', [sql]))
  expect(refused).toMatchObject({
    sqlstate: 'PQ010',
    message: 'The SQL statement of a task is NULL or blank',
  })
})

test.each([
  ['quotes', `it's "quoted" \\ $1 %s`],
  ['blanks', '  two  blanks  '],
  ['line ends', 'one\ntwo'],
  ['scripts of all kinds', '日本語 العربية ελληνικά'],
  ['200 letters', 'x'.repeat(200)],
  ['200 characters outside the basic plane', '🐘'.repeat(200)],
  ['upper case', 'Reports'],
])('keeps a topic with %s as it is', async (_, topic) => {
  const id = await enqueue(db.owner, 'select 1', topic)
  expect((await findTask(db, id)).topic).toBe(topic)
})

test('takes the empty topic for none', async () => {
  const id = await enqueue(db.owner, 'select 1', '')
  expect((await findTask(db, id)).topic).toBeNull()
})

test.each([
  ['letters', 'x'.repeat(201)],
  ['elephants', '🐘'.repeat(201)],
])('refuses a topic of 201 %s', async (_, topic) => {
  const refused = await failure(enqueue(db.owner, 'select 1', topic))
  expect(refused).toMatchObject({
    sqlstate: 'PQ011',
    message: 'Expected a topic of 1 to 200 characters, got 201',
  })
})

test('keeps every option on the row', async () => {
  const id = await enqueue(db.owner, 'select 1', null, {
    priority: -7,
    run_at: '2040-01-02T03:04:05.678901Z',
    max_retries: 1000,
    timeout_in_sec: 0.5,
    unique_key: 'nightly',
    mode: 'transaction',
    isolation: 'repeatable read',
  })
  expect(await findTask(db, id)).toMatchObject({
    priority: -7,
    run_at: '2040-01-02T03:04:05.678901Z',
    max_retries: 1000,
    timeout_in_sec: 0.5,
    unique_key: 'nightly',
    mode: 'transaction',
    isolation: 'repeatable read',
  })
})

test('takes an option that is null for one not given', async () => {
  const id = await enqueue(db.owner, 'select 1', null, {
    priority: null,
    run_at: null,
    max_retries: null,
    timeout_in_sec: null,
    unique_key: null,
    mode: null,
    isolation: null,
  })
  expect(await findTask(db, id)).toMatchObject({ priority: 100, unique_key: null, mode: 'auto' })
})

test.each([
  ['priority', 'high', 'an integer'],
  ['priority', 1.5, 'an integer'],
  ['priority', 2147483648, 'an integer'],
  ['priority', true, 'an integer'],
  ['priority', { a: 1 }, 'an integer'],
  ['run_at', 'soon', 'a time'],
  ['run_at', '2026-13-01', 'a time'],
  ['run_at', '', 'a time'],
  ['run_at', 'infinity', 'a time'],
  ['run_at', '-infinity', 'a time'],
  ['run_at', '2026-01-01 00:00 Mars/Olympus', 'a time'],
  ['max_retries', -1, 'an integer from 0 to 1000'],
  ['max_retries', 1001, 'an integer from 0 to 1000'],
  ['max_retries', 'many', 'an integer from 0 to 1000'],
  ['timeout_in_sec', -1, 'a number of seconds from 0 to 2147483'],
  ['timeout_in_sec', 'NaN', 'a number of seconds from 0 to 2147483'],
  ['timeout_in_sec', 'Infinity', 'a number of seconds from 0 to 2147483'],
  ['timeout_in_sec', 2147484, 'a number of seconds from 0 to 2147483'],
  ['timeout_in_sec', '10s', 'a number of seconds from 0 to 2147483'],
  ['unique_key', '', 'a text of 1 to 500 characters'],
  ['mode', 'vacuum', 'auto, transaction or autocommit'],
  ['mode', 'AUTO', 'auto, transaction or autocommit'],
  ['isolation', 'read uncommitted', 'read committed, repeatable read or serializable'],
  ['isolation', '', 'read committed, repeatable read or serializable'],
])('refuses the option %s of %j', async (name, value, expected) => {
  const refused = await failure(enqueue(db.owner, 'select 1', null, { [name]: value }))
  expect(refused.sqlstate).toBe('PQ012')
  expect(refused.message).toMatch(`Expected the option "${name}" to be ${expected}, got "`)
  expect(refused.message.length).toBeLessThan(400)
})

test('accepts a unique key of 500 characters outside the basic plane that do not compress, and no longer one', async () => {
  const key = String.fromCodePoint(...Array.from({ length: 500 }, (_, i) => 0x20000 + ((i * 7919) % 40_000)))
  const id = await enqueue(db.owner, 'select 1', null, { unique_key: key })
  expect((await findTask(db, id)).unique_key).toBe(key)
  const refused = await failure(enqueue(db.owner, 'select 1', null, { unique_key: `${key}k` }))
  expect(refused.message).toMatch('Expected the option "unique_key" to be a text of 1 to 500 characters')
})

test('refuses an unknown option and names the known ones', async () => {
  const refused = await failure(enqueue(db.owner, 'select 1', null, { Priority: 5 }))
  expect(refused).toMatchObject({
    sqlstate: 'PQ012',
    message: 'The option "Priority" is not known',
    hint: 'Known are priority, run_at, max_retries, timeout_in_sec, unique_key, mode and isolation.',
  })
})

test.each(['[]', '"priority"', '5', 'null'])(
  'refuses options that are %s instead of an object',
  async (json) => {
    const refused = await failure(
      db.owner.query(`select pg_background_enqueue('select 1', null, '${json}'::jsonb)`),
    )
    expect(refused).toMatchObject({
      sqlstate: 'PQ012',
      message: 'Expected the options of a task to be a JSON object',
    })
  },
)

test('adds nothing when it refuses', async () => {
  await failure(enqueue(db.owner, 'select 1', null, { priority: 'high' }))
  await failure(enqueue(db.owner, ''))
  expect(await db.owner.query('select from pg_background_tasks')).toEqual([])
})

test('reads a time without offset in the zone of the session', async () => {
  const session = await db.session()
  await session.query(`set timezone = 'America/New_York'`)
  const id = await enqueue(session, 'select 1', null, { run_at: '2040-01-01 00:00' })
  expect((await findTask(db, id)).run_at).toBe('2040-01-01T05:00:00Z')
})

test('keeps a statement of a megabyte to the last byte', async () => {
  const sql = `select '${'é🐘'.repeat(180_000)}' -- end`
  const id = await enqueue(db.owner, sql)
  expect((await findTask(db, id)).sql_statement).toBe(sql)
})

test('does not enqueue in a read-only transaction', async () => {
  await db.owner.query('begin read only')
  expect((await failure(enqueue(db.owner))).sqlstate).toBe('25006')
  await db.owner.query('rollback')
})

test.each([
  ['(sql_statement)', `('select 1')`, { state: 'pending', topic: null, priority: 100, lane: '' }],
  ['(sql_statement, topic)', `('select 1', '')`, { state: 'pending', topic: null }],
  ['(sql_statement, topic, priority)', `('select 1', 'reports', -3)`, { topic: 'reports', priority: -3 }],
  [
    '(id, sql_statement, joined_at, closed_at, state)',
    `(4711, 'select 1', '2020-01-01', '2020-01-02', 'finished')`,
    { id: 4711n, state: 'finished', closed_at: '2020-01-02T00:00:00Z' },
  ],
  [
    '(sql_statement, started_at, closed_at, state, retry_count, retry_delay_in_sec, errors)',
    `('select 1', now(), now(), 'failed', 3, 8, 'boom')`,
    { state: 'failed', retry_count: 3, retry_delay_in_sec: 8, errors: 'boom' },
  ],
])("accepts the owner's plain INSERT of %s", async (columns, values, expected) => {
  const [row] = await db.owner.query(
    `insert into pg_background_tasks ${columns} values ${values} returning *`,
  )
  expect(row).toMatchObject(expected)
  expect(row).toMatchObject({ enqueued_by: 'pgbq_owner' })
})

test("sorts the owner's plain INSERT into the lane of its topic", async () => {
  await db.owner.query(`select background_queue.set_parameter('/slow', 'delay_in_sec', '1')`)
  const rows = await db.owner.query(
    `insert into pg_background_tasks (sql_statement, topic) values ('select 1', 'slow'), ('select 1', 'fast') returning topic, lane`,
  )
  expect(rows).toEqual([
    { topic: 'slow', lane: '/slow' },
    { topic: 'fast', lane: '' },
  ])
})

test('warns nobody of an unset configuration', async () => {
  const session = await db.session()
  const warnings = collectWarnings(session)
  await session.query(`set pg_background_queue.topic_config = ''; set pg_background_queue.priority = ''`)
  await enqueue(session, 'select 1', 'reports')
  expect(warnings).toEqual([])
})
