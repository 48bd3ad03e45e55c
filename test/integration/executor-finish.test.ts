import { beforeAll, expect, test } from 'vitest'
import { useDatabase } from '../support/database.js'
import { useExecutor } from '../support/executor.js'
import { ALICE, GROUP } from '../support/names.js'

const db = useDatabase()
const executor = useExecutor(db)
const alice = useExecutor(db, ALICE)

beforeAll(async () => {
  await db.owner.query(`select background_queue.grant_enqueue($1)`, [ALICE])
  await db.admin.query('grant all on schema public to public')
  await db.owner.query('create table effects (id integer, who text default current_user)')
  await db.owner.query('grant all on effects to public')
})

const effects = async (): Promise<number> =>
  (await db.owner.query('with gone as (delete from effects returning 1) select from gone')).length

test.each<[what: string, sql: string]>([
  ['a statement_timeout of 1 ms', `insert into effects values (1); set statement_timeout = '1ms'`],
  ['a lock_timeout of 1 ms', `insert into effects values (1); set lock_timeout = '1ms'`],
  [
    'an idle_in_transaction_session_timeout of 1 ms',
    `insert into effects values (1); set idle_in_transaction_session_timeout = '1ms'`,
  ],
  [
    'a table that shadows the tasks',
    `create temp table pg_background_tasks (id bigint); create function pg_temp.sha256(bytea) returns bytea language sql as 'select $1'; set search_path = pg_temp, public; insert into public.effects values (1)`,
  ],
  ['RESET ALL', 'insert into effects values (1); reset all'],
  ['DEALLOCATE ALL', 'insert into effects values (1); deallocate all'],
  [
    'statements prepared under any name',
    `insert into effects values (1); deallocate all; prepare fin(bigint, text) as select 1; prepare commit as select 1`,
  ],
  ['another encoding', `insert into effects values (1); set client_encoding = 'LATIN1'`],
  ['row security switched off', 'insert into effects values (1); set row_security = off'],
  ['another search path', `insert into effects values (1); set search_path = ''`],
  ['strings in the old style', 'insert into effects values (1); set standard_conforming_strings = off'],
  ['triggers made immediate', 'set constraints all immediate; insert into effects values (1)'],
  ['REPEATABLE READ', 'set transaction isolation level repeatable read; insert into effects values (1)'],
  ['SERIALIZABLE', 'set transaction isolation level serializable; insert into effects values (1)'],
  ['session defaults of READ ONLY', 'set default_transaction_read_only = on; insert into effects values (1)'],
  [
    'session characteristics',
    'set session characteristics as transaction read only, isolation level serializable; insert into effects values (1)',
  ],
])('finishes a task that leaves %s behind', async (_, sql) => {
  for (const one of [executor, alice]) {
    expect(await one.run(sql)).toMatchObject({ state: 'finished', failures: 0 })
    expect(await one.run('insert into effects values (2)')).toMatchObject({ state: 'finished' })
    expect(await effects()).toBe(2)
  }
})

test.each([`set statement_timeout = '1ms'`, `set lock_timeout = '1ms'`, `set client_encoding = 'LATIN1'`])(
  'records the end of a task outside a transaction under %j',
  async (setting) => {
    const outcome = await executor.run(`${setting}; vacuum (disable_page_skipping) effects`)
    expect(['finished', 'failed']).toContain(outcome.state)
    expect(await executor.run(`${setting}; discard all; select 'é'::integer`)).toMatchObject({
      state: 'failed',
      sqlstate: '22P02',
      message: 'invalid input syntax for type integer: "é"',
    })
  },
)

test('finishes as itself where the task took another role', async () => {
  for (const one of [executor, alice]) {
    expect(await one.run(`set role ${GROUP}; insert into effects values (1)`)).toMatchObject({
      state: 'finished',
    })
    expect(await db.owner.query('select who from effects')).toEqual([{ who: GROUP }])
    expect(await effects()).toBe(1)
  }
})

test('finishes a task that reads in a READ ONLY transaction, and none that wrote before it', async () => {
  expect(await executor.run('set transaction read only; select 1')).toMatchObject({
    state: 'finished',
    tag: 'SELECT',
  })
  const written = await executor.run('insert into effects values (1); set transaction read only')
  expect(written).toMatchObject({ state: 'failed', sqlstate: '25006' })
  expect(await effects()).toBe(0)
  const writes = await executor.run('set transaction read only; insert into effects values (1)')
  expect(writes).toMatchObject({ state: 'failed', sqlstate: '25006', context: null })
})

test.each<[what: string, sql: string, sqlstate: string]>([
  ['lock its own row', 'select * from pg_background_tasks for update', '42501'],
  ['truncate the tasks', 'truncate pg_background_tasks', '42501'],
  [
    'finish itself with a guessed token',
    `insert into effects values (1); select background_queue.finish(id, 'guess', 1, 'X') from pg_background_tasks where state = 'running'`,
    'PQ001',
  ],
  [
    'fail another attempt',
    `select background_queue.fail(id, 'guess', '{}') from pg_background_tasks where state = 'running'`,
    'PQ001',
  ],
  [
    'claim another task',
    `select background_queue.claim(id, 'guess') from generate_series(1, 100) id`,
    'PQ003',
  ],
])('lets no task %s', async (_, sql, sqlstate) => {
  expect(await alice.run(sql)).toMatchObject({ state: 'failed', sqlstate })
  expect(await effects()).toBe(0)
})

test('shows a task no token, neither in an error context nor in its session', async () => {
  await db.admin.query(
    `alter role ${ALICE} in database ${db.name} set log_parameter_max_length_on_error = -1`,
  )
  try {
    await alice.session.database.close()
    await db.owner.query('create table seen (text text)')
    await db.owner.query('grant all on seen to public')
    const sql = `set log_parameter_max_length_on_error = -1;
      do $$ declare v_context text; begin
        insert into seen select query from pg_stat_activity;
        insert into seen select statement from pg_prepared_statements;
        insert into seen select statement from pg_cursors;
        perform 1 / 0;
      exception when others then
        get stacked diagnostics v_context = pg_exception_context;
        insert into seen values (v_context);
      end $$`
    expect(await alice.run(sql)).toMatchObject({ state: 'finished' })
    const rows = await db.owner.query<{ text: string }>('select text from seen')
    expect(rows.filter(({ text }) => /portal|[0-9a-f]{8}-[0-9a-f]{4}-/.test(text ?? ''))).toEqual([])
  } finally {
    await db.admin.query(`alter role ${ALICE} in database ${db.name} reset log_parameter_max_length_on_error`)
  }
})

test.each<[setting: string, sql: string]>([
  ['default_transaction_isolation = serializable', 'insert into effects values (1)'],
  [`default_transaction_isolation = 'repeatable read'`, 'insert into effects values (1)'],
  ['default_transaction_read_only = on', 'select 1'],
  [`statement_timeout = '1s'`, 'insert into effects values (1)'],
  [`datestyle = 'German'`, 'insert into effects values (1)'],
  [`client_encoding = 'LATIN1'`, `do $$ begin assert length('é') = 1; end $$`],
  [`search_path = ''`, 'insert into public.effects values (1)'],
  [`role = ${GROUP}`, `do $$ begin assert current_user = '${GROUP}'; end $$`],
  [`idle_in_transaction_session_timeout = '1ms'`, 'insert into effects values (1)'],
])('works twice for a role with %s', async (setting, sql) => {
  await db.admin.query(`alter role ${ALICE} in database ${db.name} set ${setting}`)
  try {
    const tasks = [await alice.enqueue(sql), await alice.enqueue(sql)]
    await alice.session.database.close()
    await alice.drain()
    for (const id of tasks) expect(await alice.outcome(id)).toMatchObject({ state: 'finished', failures: 0 })
    expect(await alice.run('select 1 / 0')).toMatchObject({ state: 'failed', sqlstate: '22012' })
  } finally {
    await db.admin.query(`alter role ${ALICE} in database ${db.name} reset all`)
    await alice.session.database.close()
    await effects()
  }
})
