import { beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { FIRST, states, useGroups } from './groups-support.js'

/** What tasks of one transaction see of one another, sent one by one and in one call. */

const { db, executor, run, runAs, effects } = useGroups()

/** What a task leaves behind, and how the next would notice: with an error, alone or not, it must end well. */
const TRACES: [string, string, string][] = [
  ['a setting', `set work_mem = '77MB'`, `current_setting('work_mem') = '77MB'`],
  [
    'a setting of its transaction',
    `select set_config('work_mem', '77MB', true)`,
    `current_setting('work_mem') = '77MB'`,
  ],
  [
    'a setting of its own',
    `select set_config('my.user', 'alice', true)`,
    `current_setting('my.user', true) = 'alice'`,
  ],
  ['a search_path', `set search_path = pg_temp, public`, `current_setting('search_path') like 'pg_temp%'`],
  ['a temporary table', 'create temp table t (n integer)', `to_regclass('pg_temp.t') is not null`],
  [
    'a temporary table until its commit',
    'create temp table t (n integer) on commit drop',
    `to_regclass('pg_temp.t') is not null`,
  ],
  ['a cursor', 'declare c cursor for select 1', `exists (select from pg_cursors where name = 'c')`],
  [
    'a cursor beyond its commit',
    'declare c cursor with hold for select 1',
    `exists (select from pg_cursors where name = 'c')`,
  ],
  [
    'a prepared statement',
    `do $$ begin execute 'prepare p as select 1'; end $$`,
    `exists (select from pg_prepared_statements where name = 'p')`,
  ],
  ['a role', 'set role none', 'current_user <> session_user'],
  ['constraints set to immediate', 'set constraints all immediate', 'false'],
]

beforeAll(async () => {
  await db.owner.query(
    `create function call(sql text) returns void language plpgsql as $$ begin execute sql; end $$`,
  )
})

/** The same as a statement that may run with others in one call. */
const inACall = (sql: string): string => `select call($call$${sql}$call$)`

describe.each<[string, (sql: string) => string]>([
  ['sent one by one', (sql) => sql],
  ['in one call', inACall],
])('between two tasks of one transaction, %s', (_, form) => {
  test.each(TRACES)('undoes %s', async (_, leaves, isThere) => {
    const check = form(
      `do $$ begin if ${isThere} then raise 'it is there'; end if; insert into effects values ('checked'); end $$`,
    )
    const behind = await runAs(['first checked checked'], FIRST, form(leaves), check, check)
    expect(states(behind)).toEqual(['finished', 'finished', 'finished', 'finished'])
    expect(states(await runAs(['checked checked'], form(leaves), check, check))).toEqual([
      'finished',
      'finished',
      'finished',
    ])
  })

  test('gives each its own random numbers, whatever seed the last one chose', async () => {
    const see = form('insert into effects select random()')
    await run(FIRST, ...Array.from({ length: 3 }, () => [form('select setseed(0.5)'), see]).flat())
    const [names] = await effects()
    expect(new Set(names!.split(' ')).size).toBe(4)
  })

  test('keeps a lock of the session, which guards what is not committed yet', async () => {
    const see = `insert into effects select 'locked' from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()`
    await runAs(['first locked'], FIRST, form('select pg_advisory_lock(7)'), form(see))
    await runAs(['first'], FIRST, form(see))
  })

  test('lets none choose how all are committed', async () => {
    await db.owner.query(`create or replace function note_commit() returns trigger language plpgsql as $$ begin
        insert into effects values (current_setting('synchronous_commit')); return null; end $$;
      create constraint trigger doom after insert on children deferrable initially deferred for each row
        execute function note_commit(); insert into parents values (1)`)
    onTestFinished(async () => {
      await db.owner.query('drop function note_commit() cascade')
    })
    const usual = await db.owner.one<{ usual: string }>(
      `select current_setting('synchronous_commit') as usual`,
    )
    await run(FIRST, form('insert into children values (1)'), form('set synchronous_commit = local'))
    expect((await effects()).at(-1)!.split(' ').at(-1)).toBe(usual.usual)
  })

  test('lets one whose assertion fails fail alone', async () => {
    const outcomes = await runAs(
      ['first b', 'd'],
      FIRST,
      form(`insert into effects values ('b')`),
      form(`do $$ begin assert false, 'no'; end $$`),
      form(`insert into effects values ('d')`),
    )
    expect(outcomes.map((o) => o.sqlstate)).toEqual([null, null, 'P0004', null])
  })
})

/** What may run with others in one call ends as it does alone. */
const CALLED = [
  `insert into effects values ('a'), ('b')`,
  `INSERT INTO effects VALUES ('quoted "x", {braces}, back\\slash, \n\t new line and é😀') RETURNING name`,
  ` update effects set name = name || '!'`,
  `\n delete from effects where name = 'nobody'`,
  'select generate_series(1, 3)',
  `select 'a;b' /* one */;`,
  'values (1), (2)',
  'select 1 into x',
  `with w as (select 1) select * from w`,
  `select 'x' from effects for update`,
]

test.each(CALLED)('ends %s in a call as alone', async (sql) => {
  const told = ({ tag, rows, state }: { tag: string | null; rows: bigint | null; state: string }) => ({
    tag,
    rows,
    state,
  })
  const names = () => db.owner.query('select name from effects order by name')
  await db.owner.query(`select background_queue.set_parameter('', 'max_tasks_per_commit', null)`)
  const [, alone] = await run(FIRST, sql)
  const expected = await names()
  await db.owner.query('drop table if exists x')
  await db.owner.query(`select background_queue.set_parameter('', 'max_tasks_per_commit', '50')`)
  const [, called] = await run(FIRST, sql)
  expect(told(called!)).toEqual(told(alone!))
  expect(await names()).toEqual(expected)
  await db.owner.query('drop table if exists x')
})

/** The pattern does not match itself. */
const SEE_QUERY = `insert into effects select case when current_query() ~ 'run_[e]ach' then 'called' else 'sent' end`

test('gives the server all texts in one call where each begins as it must, and else one by one', async () => {
  await runAs(['first called called'], FIRST, SEE_QUERY, SEE_QUERY)
  await runAs(['first sent x'], FIRST, SEE_QUERY, `do $$ begin insert into effects values ('x'); end $$`)
})

test('tells under whose name something was said in a call, and sends those of its topic one by one then', async () => {
  const said: [bigint, string][] = []
  executor.onLines = (task, lines) =>
    said.push(...lines.map((line): [bigint, string] => [task.id, line.message]))
  const say = (text: string) =>
    inACall(`do $$ begin insert into effects values ('${text}'); raise notice '${text}'; end $$`)
  const [, second, third] = await run(FIRST, say('two'), say('three'))
  expect(said).toEqual([
    [second!.id, 'two'],
    [third!.id, 'three'],
  ])
  said.length = 0
  const [, again] = await runAs(['first two sent'], FIRST, say('two'), SEE_QUERY)
  expect(said).toEqual([[again!.id, 'two']])
})
