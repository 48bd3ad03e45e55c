import { beforeAll, expect, test } from 'vitest'
import { useDatabase } from '../support/database.js'
import { useExecutor } from '../support/executor.js'

const db = useDatabase()
const executor = useExecutor(db)

beforeAll(async () => {
  await db.owner.query(`create table numbers as select n from generate_series(1, 5) n`)
  await db.owner.query('create table target (id integer, note text)')
  await db.owner.query('create materialized view doubles as select n * 2 as n from numbers')
})

test.each<[sql: string, tag: string | null, rows: bigint | null]>([
  ['select n from numbers', 'SELECT', 5n],
  ['table numbers', 'SELECT', 5n],
  ['values (1), (2)', 'SELECT', 2n],
  ['select n into copied from numbers', 'SELECT', 5n],
  ['create table copied_as as select n from numbers', 'SELECT', 5n],
  ['create table nothing_as as select n from numbers with no data', 'CREATE TABLE AS', null],
  [`insert into target values (1, 'a'), (2, 'b')`, 'INSERT', 2n],
  [`insert into target select n, 'c' from numbers returning id`, 'INSERT', 5n],
  [`update target set note = 'd' where id = 1`, 'UPDATE', 2n],
  ['delete from target where id = 5 returning *', 'DELETE', 1n],
  [
    'with gone as (delete from target where id = 4 returning id) insert into target select id from gone returning id',
    'INSERT',
    1n,
  ],
  ['with new as (insert into target values (7) returning id) select id from new, numbers', 'SELECT', 5n],
  ['insert into target select 1 where false', 'INSERT', 0n],
  ['copy numbers to stdout', 'COPY', 5n],
  ['copy (select n from numbers where n > 3) to stdout with (format csv)', 'COPY', 2n],
  ['copy numbers to stdout with (format binary)', 'COPY', 5n],
  ['truncate target', 'TRUNCATE TABLE', null],
  ['refresh materialized view doubles', 'REFRESH MATERIALIZED VIEW', null],
  ['create index on numbers (n)', 'CREATE INDEX', null],
  ['create index if not exists numbers_n_idx on numbers (n)', 'CREATE INDEX', null],
  ['analyze numbers', 'ANALYZE', null],
  ['reindex table numbers', 'REINDEX', null],
  ['cluster numbers using numbers_n_idx', 'CLUSTER', null],
  ['declare c cursor for select 1', 'DECLARE CURSOR', null],
  ['declare c cursor with hold for select n from numbers; fetch 3 from c', 'FETCH', 3n],
  ['declare c cursor with hold for select n from numbers; move 2 in c', 'MOVE', 2n],
  ['prepare p as select n from numbers', 'PREPARE', null],
  ['prepare p(int) as select n from numbers where n > $1; execute p(2)', 'SELECT', 3n],
  ['prepare p as insert into target values (1), (2); execute p', 'INSERT', 2n],
  ['listen somebody', 'LISTEN', null],
  [`notify somebody, 'hello'`, 'NOTIFY', null],
  ['unlisten *', 'UNLISTEN', null],
  ['explain select 1', 'EXPLAIN', null],
  ['explain (analyze, format json) insert into target values (9)', 'EXPLAIN', null],
  ['show work_mem', 'SHOW', null],
  ['show all', 'SHOW', null],
  [`set work_mem = '1MB'`, 'SET', null],
  ['reset work_mem', 'RESET', null],
  ['lock table target in exclusive mode', 'LOCK TABLE', null],
  ['discard plans', 'DISCARD PLANS', null],
  ['discard all', 'DISCARD ALL', null],
  ['do $$ begin perform 1; end $$', 'DO', null],
  [`comment on table target is 'it'`, 'COMMENT', null],
  ['grant select on target to public', 'GRANT', null],
  [`select 'begin; commit'`, 'SELECT', 1n],
  ['select case when true then 1 end', 'SELECT', 1n],
  ['select 1 /* ; commit; */', 'SELECT', 1n],
  [';', null, null],
  [';;;', null, null],
  ['-- only a comment', null, null],
  ['/* only a comment */', null, null],
  ['select 1;', 'SELECT', 1n],
  ['; select 1; ;', 'SELECT', 1n],
  ['select 1; -- the end', 'SELECT', 1n],
  [`insert into target values (1); select 'é€😀'; insert into target values (2), (3)`, 'INSERT', 2n],
])('finishes %j with the tag %s and %s rows', async (sql, tag, rows) => {
  expect(await executor.run(sql)).toMatchObject({ state: 'finished', tag, rows, errors: null, failures: 0 })
})

test.each([
  'copy numbers from stdin',
  'copy numbers from stdin with (format binary)',
  'insert into target values (77); copy numbers from stdin; select 1',
  'COPY /* with a comment */ numbers FROM STDIN',
])('fails %j at once, for a task has no standard input, and goes on', async (sql) => {
  expect(await executor.run(sql)).toMatchObject({
    state: 'failed',
    sqlstate: '57014',
    message: expect.stringContaining('a task has no standard input'),
  })
  expect(await executor.run('select 1')).toMatchObject({ state: 'finished' })
  expect(await db.owner.query('select from target where id = 77')).toHaveLength(0)
})

test('keeps what EXPLAIN ANALYZE wrote and what SELECT INTO made', async () => {
  await executor.run('explain analyze insert into target values (41)')
  await executor.run('select 42 as id into made')
  expect(await db.owner.query('select id from target where id = 41 union all select id from made')).toEqual([
    { id: 41 },
    { id: 42 },
  ])
})

test('delivers NOTIFY with the end of the task, and not when it fails', async () => {
  const heard: string[] = []
  const listener = await db.session()
  listener.onNotification((payload) => heard.push(payload))
  await listener.query('listen news')
  await executor.run(`notify news, 'lost'; select 1 / 0`)
  await executor.run(`notify news, 'found'`)
  await listener.query('select 1')
  expect(heard).toEqual(['found'])
})

test('runs a statement of 1 MB, and 1 MB of statements', async () => {
  await db.owner.query('create table big (text text)')
  const text = 'é'.repeat(500_000)
  expect(await executor.run(`insert into big values ('${text}')`)).toMatchObject({ state: 'finished' })
  const rows = await db.owner.query('select length(text) as length from big')
  expect(rows).toEqual([{ length: 500_000 }])
  const many = `insert into big values ('x');\n`.repeat(37_000)
  expect(await executor.run(many)).toMatchObject({ state: 'finished', tag: 'INSERT', rows: 1n })
  expect(await db.owner.one('select count(*) from big')).toEqual({ count: 37_001n })
}, 60_000)

test('runs a SELECT of 5 million rows in flat memory', async () => {
  await executor.run('select 1')
  let highest = 0
  const before = process.memoryUsage().rss
  const watch = setInterval(() => {
    highest = Math.max(highest, process.memoryUsage().rss)
  }, 20)
  const outcome = await executor.run(`select n, repeat('x', 50) from generate_series(1, 5000000) n`)
  clearInterval(watch)
  expect(outcome).toMatchObject({ state: 'finished', tag: 'SELECT', rows: 5_000_000n })
  expect((highest - before) / 1024 / 1024).toBeLessThan(150)
}, 60_000)

test('takes any number of notices', async () => {
  const sql = `do $$ begin for n in 1..5000 loop raise notice '% %', n, repeat('x', 200); end loop; raise warning 'é'; end $$`
  expect(await executor.run(sql)).toMatchObject({ state: 'finished', tag: 'DO' })
})

test('lets a task enqueue tasks', async () => {
  const outcome = await executor.run(
    `select pg_background_enqueue('insert into target values (' || 1000 + n || ')') from numbers`,
  )
  expect(outcome).toMatchObject({ state: 'finished', rows: 5n })
  expect(await db.owner.query('select from target where id > 1000')).toHaveLength(5)
})

test.each([
  ['select 1; select 2', 'SELECT'],
  [`do $$ begin perform 1; perform 2; end $$`, 'DO'],
  [`insert into numbers values (1); -- the end;`, 'INSERT'],
])('runs %j without an error of the server on the way', async (sql, tag) => {
  await executor.run('select 1')
  const errors: unknown[] = []
  const { connection } = executor.session.database.client as unknown as { connection: NodeJS.EventEmitter }
  connection.on('errorMessage', (error) => errors.push(error))
  expect(await executor.run(sql)).toMatchObject({ state: 'finished', tag })
  expect(errors).toEqual([])
})
