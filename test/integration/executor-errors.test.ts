import { beforeAll, expect, test } from 'vitest'
import { useDatabase } from '../support/database.js'
import { useExecutor } from '../support/executor.js'

const db = useDatabase()
const executor = useExecutor(db)

beforeAll(async () => {
  await db.owner.query('create table items (id integer primary key, price numeric check (price > 0))')
  await db.owner.query(`create function inner_one(a integer) returns integer language plpgsql as
    $$ begin return 1 / a; end $$`)
  await db.owner.query(`create function outer_one(a integer) returns integer language plpgsql as
    $$ begin return inner_one(a); end $$`)
  await db.owner.query(`create function broken() returns integer language plpgsql as
    $$ begin execute 'selec 1'; return 1; end $$`)
})

/** The same text sent as psql -c sends it. */
async function asPsql(sql: string): Promise<Record<string, unknown>> {
  const error = await db.owner.client.query(sql).then(
    () => ({}),
    (e: Record<string, unknown>) => e,
  )
  await db.owner.client.query('rollback')
  const { code, message, detail, hint, where, position } = error as Record<string, string | undefined>
  return {
    sqlstate: code,
    message,
    detail: detail ?? null,
    hint: hint ?? null,
    context: where ?? null,
    position: position === undefined ? null : Number(position),
  }
}

test.each([
  'selec 1',
  'select * from nowhere',
  'select id, nothing from items',
  'select inner_one(0)',
  'select outer_one(0)',
  'select broken()',
  'insert into items values (1, -1)',
  `insert into items values (1, 'x')`,
  `select 'é€😀', nothing from items`,
  `select upper(1, 2, 3)`,
  `do $$ begin raise exception 'Sorry' using errcode = 'P0042', detail = 'the detail', hint = 'the hint'; end $$`,
  `do $$ begin raise exception using errcode = 'PQ001', message = 'not ours'; end $$`,
  `do $$ begin raise exception using errcode = '28000', message = 'not a login'; end $$`,
  `do $$ begin raise exception using errcode = '25006', message = 'not read only'; end $$`,
  `do $$ begin raise exception using errcode = '40001', message = 'not serial'; end $$`,
  `do $$ begin raise exception E'one\\ntwo\\n'; end $$`,
  `do $$ begin raise exception '%', repeat('é', 5000); end $$`,
  'select pg_background_retry(null) from nowhere',
  'drop table nowhere',
  `select 1; select 'é€😀' , nothing from items`,
  'select 1;\n-- é\n select 2 / 0; select 3',
  `insert into items values (1, 1); insert into items values (1, 1)`,
  `create table a_table (id integer); insert into a_table values ('é'); select 1`,
  `select '😀'; select 1; select * from items where nothing`,
])('records for %j what psql shows', async (sql) => {
  const expected = await asPsql(sql)
  expect(await executor.run(sql)).toMatchObject({ state: 'failed', ...expected })
})

test('records a syntax error anywhere in the text, at its place', async () => {
  const sql = `select 'é'; selec 2; select 3`
  expect(await executor.run(sql)).toMatchObject({ state: 'failed', ...(await asPsql(sql)) })
})

test('records errors plainly where only the grammar of the server knows the text', async () => {
  const beyond = `select ${'1 + '.repeat(3000)} 1`
  for (const wrong of [
    'select nothing from items',
    'select outer_one(0)',
    'insert into items values (1, -1)',
  ]) {
    const expected = await asPsql(`${beyond}; ${wrong}`)
    expect(await executor.run(`${beyond}; ${wrong}`)).toMatchObject({ state: 'failed', ...expected })
  }
  const good = await executor.run(`${beyond}; insert into items values (1, 1), (2, 2)`)
  expect(good).toMatchObject({ state: 'finished', rows: 2n })
  expect(await db.owner.query('delete from items returning id')).toHaveLength(2)
})

test('records what failed outside a transaction, at its place in the text', async () => {
  const sql = `vacuum items; select 'é' , nothing from items`
  const outcome = await executor.run(sql)
  expect(outcome).toMatchObject({ sqlstate: '42703', position: 28, context: null, statementsDone: 1 })
})

test('composes the column errors of every part', async () => {
  const sql = `do $$ begin raise exception 'Sorry' using errcode = 'P0042', detail = 'a detail', hint = 'a hint'; end $$`
  expect((await executor.run(sql)).errors).toBe(
    'ERROR P0042: Sorry\nDETAIL: a detail\nHINT: a hint\nCONTEXT: PL/pgSQL function inline_code_block line 1 at RAISE',
  )
})

test('records an error of the commit itself', async () => {
  await db.owner.query(`create table pairs (a integer references items deferrable initially immediate)`)
  const sql = 'set constraints all deferred; insert into pairs values (9)'
  expect(await executor.run(sql)).toMatchObject({ state: 'failed', sqlstate: '23503' })
  expect(await db.owner.query('select from pairs')).toEqual([])
})
