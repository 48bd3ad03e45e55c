import { beforeAll, expect, test } from 'vitest'
import { Database } from '../../src/engine/database/database.js'
import { putInForce } from '../../src/engine/database/pooler.js'
import { useDatabase } from '../support/database.js'
import { useExecutor } from '../support/executor.js'
import { GROUP, OWNER } from '../support/names.js'

const db = useDatabase()
const executor = useExecutor(db)

beforeAll(async () => {
  await db.admin.query('grant create on schema public to public')
  await db.owner.query('create table seen (value text)')
  await db.owner.query('create sequence numbers')
})

/** What a task sees, as text. */
async function see(expression: string): Promise<string | null> {
  await executor.run(`insert into seen select (${expression})::text`)
  const [row] = await db.owner.query<{ value: string | null }>(
    'with gone as (delete from seen returning value) select value from gone',
  )
  return row!.value
}

test.each<[what: string, sql: string, expression: string]>([
  ['work_mem', `set work_mem = '77MB'`, `current_setting('work_mem')`],
  ['search_path', 'set search_path = pg_temp', `current_setting('search_path')`],
  ['the time zone', `set timezone = 'Asia/Tokyo'`, `current_setting('timezone')`],
  ['the date style', `set datestyle = 'German'`, `current_setting('datestyle')`],
  ['statement_timeout', `set statement_timeout = '1ms'`, `current_setting('statement_timeout')`],
  ['row_security', 'set row_security = off', `current_setting('row_security')`],
  ['the style of strings', 'set standard_conforming_strings = off', `'\\' = chr(92)`],
  [
    'the default isolation',
    'set default_transaction_isolation = serializable',
    `current_setting('transaction_isolation')`,
  ],
  [
    'the default of READ ONLY',
    'set default_transaction_read_only = on',
    `current_setting('transaction_read_only')`,
  ],
  [
    'the guard of the idle transaction',
    'set idle_in_transaction_session_timeout = 0',
    `current_setting('idle_in_transaction_session_timeout')`,
  ],
  [
    'the guard of the token',
    'set log_parameter_max_length_on_error = -1',
    `current_setting('log_parameter_max_length_on_error')`,
  ],
  ['a role', `set role ${GROUP}`, 'current_user'],
  ['a session authorization', `set session authorization ${OWNER}`, 'session_user'],
  [
    'a temporary table',
    'create temp table pg_temp.leftover (id integer)',
    `to_regclass('pg_temp.leftover') is null`,
  ],
  [
    'a temporary function',
    `create function pg_temp.leftover() returns integer language sql as 'select 1'`,
    `to_regproc('pg_temp.leftover') is null`,
  ],
  ['a prepared statement', 'prepare leftover as select 1', '(select count(*) from pg_prepared_statements)'],
  [
    'a cursor WITH HOLD',
    'declare leftover cursor with hold for select 1',
    `(select count(*) from pg_cursors where name = 'leftover')`,
  ],
  ['LISTEN', 'listen leftover', '(select count(*) from pg_listening_channels())'],
  [
    'advisory locks',
    'select pg_advisory_lock(7), pg_advisory_lock_shared(8)',
    `(select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid())`,
  ],
  [
    'an operator that shadows one of the server',
    `create function pg_temp.never(integer, integer) returns boolean language sql as 'select false';
     create operator pg_temp.= (leftarg = integer, rightarg = integer, function = pg_temp.never);
     set search_path = pg_temp, pg_catalog`,
    '1 = 1',
  ],
  ['a type that shadows one of the server', 'create type pg_temp.text as (a integer)', `'x'::text`],
  ['a made-up setting', `set my.own = 'x'`, `coalesce(current_setting('my.own', true), '')`],
  ['an application name', `set application_name = 'mine'`, `current_setting('application_name')`],
])('takes %s from the next task', async (_, sql, expression) => {
  const before = await see(expression)
  for (const mode of ['auto', 'autocommit']) {
    expect(await executor.run(sql, { mode })).toMatchObject({ state: 'finished' })
    expect(await see(expression)).toBe(before)
  }
  expect(await executor.run(`${sql}; select 1 / 0`, { mode: 'autocommit' })).toMatchObject({
    state: 'failed',
  })
  expect(await see(expression)).toBe(before)
})

test('takes lastval and currval from the next task', async () => {
  await executor.run(`select nextval('numbers')`)
  expect(await executor.run('select lastval()')).toMatchObject({ state: 'failed', sqlstate: '55000' })
  expect(await executor.run(`select currval('numbers')`)).toMatchObject({
    state: 'failed',
    sqlstate: '55000',
  })
})

test('gives each task other random numbers, whatever seed the last one chose', async () => {
  const seen = new Set<string | null>()
  for (let i = 0; i < 5; i++) {
    await executor.run('select setseed(0.5)')
    seen.add(await see('random()'))
  }
  expect(seen.size).toBe(5)
})

test('reads the next task rightly behind one that changed the encoding', async () => {
  await executor.run(`set client_encoding = 'LATIN1'`)
  expect(await see(`'é€😀'`)).toBe('é€😀')
  await executor.run(`set client_encoding = 'SQL_ASCII'; select 1 / 0`, { mode: 'autocommit' })
  expect(await see(`'é€😀'`)).toBe('é€😀')
})

test('keeps the session while tasks end well or badly', async () => {
  const pid = await see('pg_backend_pid()')
  await executor.run('select 1 / 0')
  await executor.run('selec')
  await executor.run('vacuum seen')
  await executor.run('begin')
  expect(await see('pg_backend_pid()')).toBe(pid)
})

test('needs nothing set again behind a cleaning where no pooler has dropped what the session began with', async () => {
  const settings = { tcp_keepalives_idle: '5', idle_in_transaction_session_timeout: '60000' }
  const session = await Database.connect(db.target(), { applicationName: 'pgbq tests', settings })
  expect(await putInForce(session, settings)).toBe('')
  await session.close()
})

test('drops a large temporary table behind a tiny statement_timeout', async () => {
  const tables = Array.from(
    { length: 30 },
    (_, n) => `create temp table t${n} (id integer primary key, text text)`,
  )
  expect(await executor.run(`${tables.join(';')}; set statement_timeout = '1ms'`)).toMatchObject({
    state: 'finished',
  })
  expect(await see('(select count(*) from pg_class where relnamespace = pg_my_temp_schema())')).toBe('0')
})

test('runs what a cursor WITH HOLD holds, as any commit does, and closes it', async () => {
  await db.owner.query(
    `create function hold() returns integer language sql as $$ insert into seen values ('held') returning 1 $$`,
  )
  for (const sql of [
    'declare c cursor with hold for select hold()',
    'create temp table t (n integer); declare c cursor with hold for select hold() from (select count(*) from t) x',
  ]) {
    expect(await executor.run(sql)).toMatchObject({ state: 'finished' })
    expect(await db.owner.query('delete from seen returning value')).toEqual([{ value: 'held' }])
    expect(await see(`(select count(*) from pg_cursors where name = 'c')`)).toBe('0')
  }
})

test('commits a statement of ours also where the BEGIN of the next task was sent before it', async () => {
  await executor.run('select 1')
  const { session } = executor
  await session.begin(null)
  await session.runLast('select 1')
  await session.finish([[], '', [], [], null, null, null, null])
  expect(session.isInTransaction).toBe(true)
  await session.own(`insert into public.seen values ('kept')`, [])
  expect(session.isInTransaction).toBe(false)
  expect(await db.owner.query('delete from seen returning value')).toEqual([{ value: 'kept' }])
})
