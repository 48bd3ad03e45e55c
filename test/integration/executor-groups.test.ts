import { expect, test } from 'vitest'
import { waitFor } from '../support/wait.js'
import { FIRST, states, useGroups } from './groups-support.js'

/** Grouped commits: tasks that run in the transaction of the one before them. */

const { db, executor, setPatience, run, runAs, effects } = useGroups()

test('runs what stands behind a task in its transaction, each with its own end', async () => {
  const [first, second, third] = await runAs(
    ['first b c'],
    FIRST,
    `insert into effects values ('b'), ('c')`,
    'select 1 where false',
  )
  expect(first).toMatchObject({ state: 'finished', tag: 'INSERT', rows: 1n })
  expect(second).toMatchObject({ state: 'finished', tag: 'INSERT', rows: 2n, failures: 0 })
  expect(third).toMatchObject({ state: 'finished', tag: 'SELECT', rows: 0n })
  expect(second!.ending).toMatchObject({ state: 'finished', rows: 2, tag: 'INSERT' })
  const [row] = await db.owner.query<{ ok: boolean }>(
    `select bool_and(a.started_at <= a.closed_at and a.closed_at <= b.started_at) as ok
     from pg_background_tasks a join pg_background_tasks b on b.id = a.id + 1`,
  )
  expect(row!.ok).toBe(true)
})

test('has no groups where a task has its commit to itself', async () => {
  await db.owner.query(`select background_queue.set_parameter('', 'max_tasks_per_commit', null)`)
  await run(FIRST, `insert into effects values ('b')`)
  expect(await effects()).toEqual(['first', 'b'])
})

test('takes no more than the parameter allows', async () => {
  await db.owner.query(`select background_queue.set_parameter('', 'max_tasks_per_commit', '3')`)
  const others = ['b', 'c', 'd', 'e'].map((name) => `insert into effects values ('${name}')`)
  await runAs(['first b c', 'd e'], FIRST, ...others)
})

/** How a task in the middle fails; the one behind it tells that it is not in the way. */
const FAILURES: [string, string, string][] = [
  ['an error', `insert into effects select 1 / 0`, '22012'],
  ['no SQL', 'boom', '42601'],
  [
    'an error after an effect',
    `with x as (insert into effects values ('x') returning 1) select 1 / (count(*) - 1) from x`,
    '22012',
  ],
  ['a constraint that waits for the commit', 'insert into children values (1)', '23503'],
  ['a missing table', 'insert into nothing values (1)', '42P01'],
]

test.each(FAILURES)('lets a task that ends with %s fail alone', async (_, sql, sqlstate) => {
  const outcomes = await runAs(
    ['first b', 'd'],
    FIRST,
    `insert into effects values ('b')`,
    sql,
    `insert into effects values ('d')`,
  )
  expect(states(outcomes)).toEqual(['finished', 'finished', 'failed', 'finished'])
  expect(outcomes[2]).toMatchObject({ sqlstate, failures: 1 })
})

test.each(FAILURES)('lets a first task that ends with %s fail alone', async (_, sql, sqlstate) => {
  const outcomes = await runAs(
    ['b c'],
    sql,
    `insert into effects values ('b')`,
    `insert into effects values ('c')`,
  )
  expect(states(outcomes)).toEqual(['failed', 'finished', 'finished'])
  expect(outcomes[0]).toMatchObject({ sqlstate, failures: 1 })
})

test('does not let a later task mend what an earlier one would have failed for at its commit', async () => {
  const outcomes = await run(FIRST, 'insert into children values (1)', 'insert into parents values (1)')
  expect(states(outcomes)).toEqual(['finished', 'failed', 'finished'])
  const again = await run('insert into children values (2)', 'insert into parents values (2)')
  expect(states(again)).toEqual(['failed', 'finished'])
})

test('leaves constraints deferred for a task whose statement needs that', async () => {
  const whole = `do $$ begin insert into children values (3); insert into parents values (3); end $$`
  expect(states(await run(FIRST, whole, whole.replaceAll('3', '4')))).toEqual([
    'finished',
    'finished',
    'finished',
  ])
})

test('undoes the last value of a sequence', async () => {
  const [, , last] = await run(FIRST, `select nextval('s')`, 'select lastval()')
  expect(last).toMatchObject({ state: 'failed', sqlstate: '55000' })
})

test('lets a READ ONLY transaction of one task not hinder the next', async () => {
  const readOnly = `do $$ begin set transaction read only; end $$`
  expect(states(await run(FIRST, readOnly, `insert into effects values ('b')`))).toEqual([
    'finished',
    'finished',
    'finished',
  ])
  expect(states(await run(readOnly, `insert into effects values ('c')`))).toEqual(['finished', 'finished'])
})

/** Tasks that need their transaction, or none, for themselves: they end as they would without groups. */
const OF_THEIR_OWN: [string, string][] = [
  ['VACUUM', 'vacuum effects'],
  ['several statements', `insert into effects values ('x'); insert into effects values ('y')`],
  ['a level of isolation', 'set transaction isolation level serializable'],
  ['COPY', 'copy effects (name) to stdout'],
]

test.each(OF_THEIR_OWN)('runs %s by itself between others', async (_, sql) => {
  const outcomes = await run(
    FIRST,
    `insert into effects values ('b')`,
    sql,
    `insert into effects values ('d')`,
  )
  expect(states(outcomes)).toEqual(['finished', 'finished', 'finished', 'finished'])
  const names = (await effects()).join(' ').split(' ')
  expect(names.filter((name) => !['x', 'y'].includes(name))).toEqual(['first', 'b', 'd'])
})

test('refuses transaction control in a group as without one', async () => {
  const outcomes = await run(
    FIRST,
    'commit',
    'savepoint m',
    'rollback to m',
    `insert into effects values ('d')`,
  )
  expect(states(outcomes)).toEqual(['finished', 'failed', 'failed', 'failed', 'finished'])
  expect(await effects()).toEqual(['first', 'd'])
})

test('commits what is done before a task that takes long, and shows that one as running', async () => {
  await setPatience(false)
  await db.owner.query('select pg_advisory_lock(99)')
  const ids: bigint[] = []
  for (const sql of [
    FIRST,
    `insert into effects select 'long' from pg_advisory_xact_lock(99)`,
    `insert into effects values ('c')`,
  ])
    ids.push(await executor.enqueue(sql))
  const draining = executor.drain()
  await waitFor(
    'the long task to be running',
    async () => (await executor.outcome(ids[1]!)).state === 'running',
  )
  expect((await executor.outcome(ids[0]!)).state).toBe('finished')
  expect(await effects()).toEqual(['first'])
  // nobody waits in its hands
  expect(
    await db.owner.query('select from pg_background_tasks where id = $1 for update nowait', [ids[2]]),
  ).toHaveLength(1)
  await db.owner.query('select pg_advisory_unlock(99)')
  await draining
  expect((await effects()).join(' ')).toBe('first long c')
})

test('ends a group whose tasks take long together', async () => {
  await setPatience(false)
  const sleeps = Array.from(
    { length: 12 },
    (_, n) => `insert into effects select '${n}' from pg_sleep(0.012)`,
  )
  expect(new Set(states(await run(FIRST, ...sleeps)))).toEqual(new Set(['finished']))
  const groups = await effects()
  expect(groups.length).toBeGreaterThan(2)
  expect(groups.join(' ').split(' ')).toEqual(['first', ...sleeps.map((_, n) => String(n))])
})

/** Where more than one task is finished in a transaction, something fails: at once, or at the commit. */
const SABOTAGES: [string, string][] = [
  [
    'finish',
    `create trigger sabotage after update on pg_background_tasks referencing new table as n for each statement`,
  ],
  [
    'commit',
    `create constraint trigger sabotage after update on pg_background_tasks deferrable initially deferred for each row`,
  ],
]

test.each(SABOTAGES)('runs each task of a group whose %s fails by itself, and once', async (_, trigger) => {
  await db.owner.query(`create or replace function sabotage() returns trigger language plpgsql as $$ begin
      if (select count(*) from public.pg_background_tasks where state = 'finished' and xmin::text = pg_current_xact_id()::text) > 1
        then raise 'sabotaged'; end if; return null; end $$;
    ${trigger} execute function sabotage()`)
  const outcomes = await runAs(
    ['first', 'b', 'c'],
    FIRST,
    `insert into effects values ('b')`,
    `insert into effects values ('c')`,
  )
  expect(states(outcomes)).toEqual(['finished', 'finished', 'finished'])
})

test('keeps what each task of a group says under its own name', async () => {
  const said: [bigint, string][] = []
  const say = (text: string) => `do $$ begin raise notice '${text}'; end $$`
  executor.onLines = (task, lines) =>
    said.push(...lines.map((line): [bigint, string] => [task.id, line.message]))
  const [first, second, third] = await run(say('one'), say('two'), say('three'))
  expect(said).toEqual([
    [first!.id, 'one'],
    [second!.id, 'two'],
    [third!.id, 'three'],
  ])
})

test('drops the rows of a large result in the middle of a group', async () => {
  const outcomes = await run(
    FIRST,
    `select repeat('x', 1000000) from generate_series(1, 30)`,
    `insert into effects values ('c')`,
  )
  expect(outcomes.map((o) => o.rows)).toEqual([1n, 30n, 1n])
})
