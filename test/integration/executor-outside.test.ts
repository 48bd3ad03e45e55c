import { beforeAll, expect, test } from 'vitest'
import { useDatabase } from '../support/database.js'
import { useExecutor } from '../support/executor.js'
import { OWNER, SERVED } from '../support/names.js'
import { needsPostgres } from '../support/version.js'

const db = useDatabase()
const executor = useExecutor(db)
const forOther = useExecutor(db, SERVED, OWNER)

beforeAll(async () => {
  await db.owner.query('create table effects (id integer, at text default txid_current()::text)')
  await db.owner.query('create table parted (id integer) partition by range (id)')
  await db.owner.query('create table part partition of parted for values from (0) to (10)')
  await db.owner.query('create index parted_idx on parted (id)')
  await db.owner.query('create schema own create table ours (id integer primary key)')
  await db.owner.query(`create procedure commits(p_does boolean) language plpgsql as
    $$ begin insert into effects values (1); if p_does then commit; end if; insert into effects values (2); end $$`)
})

const ids = async (): Promise<unknown[]> =>
  (
    await db.owner.query('with gone as (delete from effects returning id) select id from gone order by id')
  ).map(({ id }) => id)

test.for<[sql: string, tag: string, since?: number]>([
  ['vacuum', 'VACUUM'],
  ['vacuum analyze effects', 'VACUUM'],
  ['vacuum (full, analyze) effects', 'VACUUM'],
  ['create index concurrently effects_idx on effects (id)', 'CREATE INDEX'],
  ['reindex index concurrently effects_idx', 'REINDEX'],
  ['reindex table concurrently effects', 'REINDEX'],
  ['reindex (concurrently) table effects', 'REINDEX', 14],
  ['reindex table parted', 'REINDEX'],
  ['reindex index parted_idx', 'REINDEX', 14],
  ['reindex schema own', 'REINDEX'],
  ['drop index concurrently effects_idx', 'DROP INDEX'],
  ['cluster', 'CLUSTER'],
  ['alter table parted detach partition part concurrently', 'ALTER TABLE', 14],
  [`set work_mem = '1MB'; vacuum effects`, 'VACUUM'],
  ['select 1; vacuum; analyze; vacuum', 'VACUUM'],
  ['-- nightly\nvacuum;', 'VACUUM'],
  ['do $$ begin insert into effects values (1); commit; end $$', 'DO'],
  ['do $$ begin rollback; end $$', 'DO'],
  ['call commits(true)', 'CALL'],
  ['call commits(false)', 'CALL'],
  ['discard all', 'DISCARD ALL'],
])('finishes %j, which PostgreSQL cannot run in a transaction', async ([sql, tag, since = 13], ctx) => {
  needsPostgres(since, 'it has no such statement', ctx)
  expect(await executor.run(sql)).toMatchObject({ state: 'finished', tag, failures: 0 })
})

test('creates and drops a database', async () => {
  await db.admin.query('alter role pgbq_owner createdb')
  try {
    const create = `create database ${db.name}_other`
    expect(await executor.run(create)).toMatchObject({ state: 'finished', tag: 'CREATE DATABASE' })
    const drop = `drop database ${db.name}_other`
    expect(await executor.run(drop)).toMatchObject({ state: 'finished', tag: 'DROP DATABASE' })
  } finally {
    await db.admin.query('alter role pgbq_owner nocreatedb')
  }
})

test('runs each statement once where one needs to be outside, and a procedure as it is written', async () => {
  await ids()
  await executor.run('insert into effects values (1); vacuum effects; insert into effects values (3)')
  expect(await ids()).toEqual([1, 3])
  await executor.run('call commits(true); insert into effects values (3)')
  expect(await ids()).toEqual([1, 2, 3])
})

test('keeps a procedure that does not commit in the transaction of its task', async () => {
  const outcome = await executor.run('call commits(false); select 1 / 0')
  expect(outcome).toMatchObject({ state: 'failed', sqlstate: '22012' })
  expect(await ids()).toEqual([])
})

test('keeps in the mode transaction what it can, and fails the rest', async () => {
  for (const sql of ['vacuum effects', 'insert into effects values (1); vacuum effects']) {
    const outcome = await executor.run(sql, { mode: 'transaction' })
    expect(outcome).toMatchObject({ state: 'failed', sqlstate: '25001' })
  }
  const commits = await executor.run('call commits(true)', { mode: 'transaction' })
  expect(commits).toMatchObject({ state: 'failed', sqlstate: '2D000' })
  expect(await ids()).toEqual([])
})

test('runs each statement in a transaction of its own in the mode autocommit', async () => {
  const sql =
    'insert into effects values (1); insert into effects values (2); select 1 / 0; insert into effects values (3)'
  const outcome = await executor.run(sql, { mode: 'autocommit' })
  expect(outcome).toMatchObject({ state: 'failed', sqlstate: '22012', statementsDone: 2 })
  const [{ count }] = (await db.owner.query('select count(distinct at)::integer as count from effects')) as [
    { count: number },
  ]
  expect(count).toBe(2)
  expect(await ids()).toEqual([1, 2])
})

test('lets a DO block that handles a refused COMMIT have it in the mode autocommit', async () => {
  const sql = `do $$ begin commit; insert into effects values (1); exception when others then insert into effects values (0); end $$`
  await executor.run(sql)
  await executor.run(
    'do $$ begin insert into effects values (2); commit; insert into effects values (3); end $$',
    { mode: 'autocommit' },
  )
  expect((await ids()).slice(-2)).toEqual([2, 3])
})

test.each<[what: string, sql: string, sqlstate: string]>([
  [
    'SET TRANSACTION after a query',
    'insert into effects values (1); select 1; set transaction isolation level serializable',
    '25001',
  ],
  [
    'user code that raises 25001',
    `insert into effects values (1); do $$ begin raise exception using errcode = '25001'; end $$`,
    '25001',
  ],
  [
    'user code that raises 2D000',
    `insert into effects values (1); do $$ begin raise exception using errcode = '2D000'; end $$`,
    '2D000',
  ],
  [
    'VACUUM by EXECUTE in a DO block',
    `insert into effects values (1); do $$ begin execute 'vacuum'; end $$`,
    '25001',
  ],
  ['COMMIT in a function', 'insert into effects values (1); select commits()', '2D000'],
])('does not take %s for SQL that belongs outside', async (_, sql, sqlstate) => {
  await db.owner.query(
    `create or replace function commits() returns integer language plpgsql as $$ begin commit; return 1; end $$`,
  )
  expect(await executor.run(sql)).toMatchObject({ state: 'failed', sqlstate, statementsDone: 0 })
  expect(await ids()).toEqual([])
})

test('drops session locks of the attempt inside before it runs outside', async () => {
  const sql =
    "select pg_advisory_lock(42); do $$ begin commit; end $$; create table locks as select count(*)::integer as count from pg_locks where locktype = 'advisory' and pid = pg_backend_pid() and objid = 42"
  expect(await executor.run(sql)).toMatchObject({ state: 'finished' })
  const [row] = await db.owner.query('select count from locks')
  expect(row).toEqual({ count: 1 })
  const other = await db.session()
  expect(await other.one('select pg_try_advisory_lock(42) as free')).toEqual({ free: true })
})

test('goes on behind the statements that are done when the worker dies', async () => {
  const sql = `set pgbq_test.note = 'kept'; insert into effects values (1); vacuum effects;
    select pg_terminate_backend(pg_backend_pid()) where (select count(*) from effects) = 1;
    insert into effects select 2 where current_setting('pgbq_test.note') = 'kept'`
  const id = await executor.enqueue(sql)
  expect(await executor.drain()).toBe(false)
  expect(await executor.outcome(id)).toMatchObject({ state: 'running', statementsDone: 3 })
  await db.owner.query('insert into effects values (0)')
  await executor.drain()
  expect(await executor.outcome(id)).toMatchObject({ state: 'finished', tag: 'INSERT' })
  expect(await ids()).toEqual([0, 1, 2])
})

test('begins anew, and says so, where what is done left traces in the session that is gone', async () => {
  const sql = `create temp table stage as select 7 as id; vacuum;
    select pg_terminate_backend(pg_backend_pid()) where not exists (select from effects);
    insert into effects select id from stage`
  const id = await executor.enqueue(sql)
  expect(await executor.drain()).toBe(false)
  await db.owner.query('insert into effects values (0)')
  await executor.drain()
  const outcome = await executor.outcome(id)
  expect(outcome).toMatchObject({ state: 'finished', statementsDone: 3 })
  expect(outcome.message).toMatch(/^Starting again from the first statement/)
  expect(await ids()).toEqual([0, 7])
})

test('goes on at the statement that failed when it is tried again', async () => {
  const sql =
    'insert into effects values (1); vacuum effects; insert into effects select 1 / count(*) from effects where id = 9'
  const id = await executor.enqueue(sql, { max_retries: 1 })
  await executor.drain()
  expect(await executor.outcome(id)).toMatchObject({ state: 'retrying', statementsDone: 2 })
  await db.owner.query('insert into effects values (9)')
  await db.owner.query('update pg_background_tasks set run_at = now() where id = $1', [id])
  await executor.drain()
  expect(await executor.outcome(id)).toMatchObject({ state: 'finished' })
  expect(await ids()).toEqual([1, 1, 9])
})

test('runs as the role of the task inside and outside, where one worker serves several', async () => {
  await db.owner.query('select background_queue.grant_enqueue($1)', [SERVED])
  await db.owner.query('create table runners (who text default current_user, n integer)')
  await db.owner.query('grant insert on runners to public')
  const sql = `insert into runners (n) values (1); do $$ begin insert into runners (n) values (2); commit; end $$;
    insert into runners (n) values (3)`
  expect(await forOther.run('insert into runners (n) values (0)')).toMatchObject({ state: 'finished' })
  expect(await forOther.run(sql)).toMatchObject({ state: 'finished' })
  const rows = await db.owner.query('select who, n from runners order by n')
  expect(rows).toEqual([0, 1, 2, 3].map((n) => ({ who: SERVED, n })))
})
