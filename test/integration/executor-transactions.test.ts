import { beforeAll, expect, test } from 'vitest'
import { useDatabase } from '../support/database.js'
import { useExecutor } from '../support/executor.js'

const db = useDatabase()
const executor = useExecutor(db)

beforeAll(async () => {
  await db.owner.query('create table effects (id integer)')
})

const effects = async (): Promise<number> => (await db.owner.query('select from effects')).length

test.each([
  'begin',
  'begin; insert into effects values (1); commit',
  'start transaction; insert into effects values (1); end',
  'insert into effects values (1); commit',
  'insert into effects values (1); commit; insert into effects values (2)',
  'insert into effects values (1); commit and chain',
  'commit and chain',
  'insert into effects values (1); commit; begin; insert into effects values (2)',
  'insert into effects values (1); rollback',
  'rollback',
  'rollback and chain',
  'rollback; begin',
  'abort',
  'insert into effects values (1); abort and chain',
  'end',
  'end work',
  'savepoint one',
  'insert into effects values (1); savepoint one; select 1; rollback to savepoint one',
  'savepoint one; release savepoint one',
  'release one',
  'rollback to one',
  `insert into effects values (1); prepare transaction 'two'`,
  `prepare transaction 'two'`,
  `commit prepared 'two'`,
  `rollback prepared 'two'`,
  'insert into effects values (1);commit',
  'insert into effects values (1); /* now */ commit',
  'insert into effects values (1); -- now\ncommit',
  'insert into effects values (1);\r\n\tCoMmIt\r\n',
  '/* first */ begin',
  'set transaction isolation level serializable; begin',
  'vacuum effects; begin; insert into effects values (1); commit',
])('fails %j at once and for good, with nothing done', async (sql) => {
  const outcome = await executor.run(sql, { max_retries: 3 })
  expect(outcome).toMatchObject({ state: 'failed', sqlstate: '0A000', retryCount: 0, failures: 1 })
  expect(outcome.message).toMatch(/^The task controls its transaction with "/)
  expect(await effects()).toBe(0)
  expect(await db.admin.query('select from pg_prepared_xacts')).toEqual([])
  expect(await executor.run('select 1')).toMatchObject({ state: 'finished' })
})

test('fails transaction control too where the text is beyond our parser', async () => {
  const sum = `select ${'1 + '.repeat(3000)} 1`
  const outcome = await executor.run(`insert into effects values (1); ${sum}; commit; ${sum}`)
  expect(outcome).toMatchObject({ state: 'failed', sqlstate: '0A000' })
  expect(await effects()).toBe(0)
})

test('runs several statements as one transaction: all or nothing', async () => {
  const failed = await executor.run(
    'insert into effects values (1); insert into effects values (2); select 1 / 0',
  )
  expect(failed).toMatchObject({ state: 'failed', sqlstate: '22012' })
  expect(await effects()).toBe(0)
  const sql = 'insert into effects select txid_current(); insert into effects select txid_current()'
  expect(await executor.run(sql)).toMatchObject({ state: 'finished' })
  const [{ transactions }] = (await db.owner.query(
    'with gone as (delete from effects returning id) select count(distinct id)::integer as transactions from gone',
  )) as [{ transactions: number }]
  expect(transactions).toBe(1)
})

test('fails with no effect where a deferred constraint fails at the commit', async () => {
  await db.owner.query('create table parents (id integer primary key)')
  await db.owner.query(
    'create table children (parent integer references parents deferrable initially deferred)',
  )
  const outcome = await executor.run('insert into children values (1)')
  expect(outcome).toMatchObject({
    state: 'failed',
    sqlstate: '23503',
    detail: 'Key (parent)=(1) is not present in table "parents".',
    context: null,
  })
  const later = 'insert into children values (1); insert into parents values (1)'
  expect(await executor.run(later)).toMatchObject({ state: 'finished' })
  expect(await db.owner.query('select from children')).toHaveLength(1)
})

test('counts the work of deferred triggers under the task', async () => {
  await db.owner.query(`create function slow() returns trigger language plpgsql as
    $$ begin perform pg_sleep(0.3); return null; end $$`)
  await db.owner.query('create table slow_rows (id integer)')
  await db.owner.query(`create constraint trigger slow after insert on slow_rows deferrable initially deferred
    for each row execute function slow()`)
  const outcome = await executor.run(`set statement_timeout = '100ms'; insert into slow_rows values (1)`)
  expect(outcome).toMatchObject({ state: 'failed', sqlstate: '57014' })
  expect(await db.owner.query('select from slow_rows')).toEqual([])
})

test('runs in the isolation level it was given', async () => {
  for (const isolation of ['read committed', 'repeatable read', 'serializable']) {
    await db.owner.query('drop table if exists level')
    const sql = `create table level as select current_setting('transaction_isolation') as level`
    expect(await executor.run(sql, { isolation })).toMatchObject({ state: 'finished' })
    expect(await db.owner.one('select level from level')).toEqual({ level: isolation })
  }
})

test('does not finish a task whose end was requested, and keeps nothing of it', async () => {
  const id = await executor.enqueue('insert into effects values (1); select pg_sleep(0.3)')
  const working = executor.drain()
  const watcher = await db.session()
  for (let found = false; !found; ) {
    found =
      (
        await watcher.query(
          `update pg_background_tasks set end_requested = 'cancel', end_requested_by = 'me'
        where id = $1 and state = 'running' returning id`,
          [id],
        )
      ).length > 0
  }
  await working
  expect(await executor.outcome(id)).toMatchObject({ state: 'cancelled', sqlstate: null })
  expect(await effects()).toBe(0)
})

test('keeps nothing of a task whose claim was lost while it ran', async () => {
  const id = await executor.enqueue('insert into effects values (1); select pg_sleep(0.3)')
  const working = executor.drain()
  const thief = await db.session()
  for (let found = false; !found; ) {
    found =
      (
        await thief.query(
          `update pg_background_tasks set token_hash = '\\x00'
        where id = $1 and state = 'running' returning id`,
          [id],
        )
      ).length > 0
  }
  await working
  expect((await executor.outcome(id)).ending).toMatchObject({ state: 'lost' })
  expect(await effects()).toBe(0)
  await thief.query('delete from pg_background_tasks where id = $1', [id])
})
