import { beforeAll, expect, test } from 'vitest'
import type { Database } from '../../src/engine/database/database.js'
import { useDatabase } from '../support/database.js'
import { waitFor } from '../support/wait.js'
import { failure, useRole } from './sql-support.js'

const db = useDatabase()
const MALLORY = useRole(db, 'mallory')
const ATTACK = 'alter role mallory superuser'

let mallory: Database
beforeAll(async () => {
  // as PUBLIC may up to PostgreSQL 14
  await db.admin.query(`grant create on schema public to ${MALLORY}`)
  await db.owner.query('select background_queue.grant_enqueue($1)', [MALLORY])
  mallory = await db.session(MALLORY)
  await mallory.query(`create function as_definer() returns bigint language sql security definer as
    $$ select pg_background_enqueue('${ATTACK}') $$`)
})

/** Who is on record for what was enqueued since. */
async function recorded(attack: () => Promise<unknown>): Promise<string[]> {
  await db.owner.query('truncate pg_background_tasks')
  await attack()
  const rows = await db.owner.query<{ enqueued_by: string; oid: string }>(
    'select enqueued_by, pg_get_userbyid(enqueued_by_oid)::text as oid from pg_background_tasks',
  )
  for (const row of rows) expect(row.oid).toBe(row.enqueued_by)
  return [...new Set(rows.map((row) => row.enqueued_by))]
}

test.each(['reindex table bait', 'analyze bait', 'vacuum analyze bait'])(
  "records an index function's owner for what a superuser's %s enqueues",
  async (maintenance) => {
    // the note of a wake keeps the deferred trigger away, which would be refused there
    await mallory.query(`
      create table bait (n integer);
      create function is_bait(n integer) returns integer language plpgsql immutable as $$
      begin
        perform pg_catalog.set_config('background_queue.woken', pg_catalog.pg_current_xact_id()::text, true);
        perform public.pg_background_enqueue('${ATTACK}');
        return n;
      end $$;
      create index on bait (is_bait(n));
      insert into bait values (1)`)
    const by = await recorded(() => db.admin.query(maintenance))
    await mallory.query('drop table bait; drop function is_bait')
    expect(by).toEqual([MALLORY])
  },
)

test('refuses what an index function enqueues without such a note, and records nobody', async () => {
  await mallory.query(`
    create table bait (n integer);
    create function is_bait(n integer) returns integer language plpgsql immutable as $$
    begin perform public.pg_background_enqueue('${ATTACK}'); return n; end $$;
    insert into bait values (1)`)
  await recorded(() => failure(mallory.query('create index on bait (is_bait(n))')))
  expect(await db.owner.query('select from pg_background_tasks')).toEqual([])
  await mallory.query('drop table bait; drop function is_bait')
})

test("records the owner of a SECURITY DEFINER function that a superuser or the queue's owner calls", async () => {
  expect(await recorded(() => db.admin.query('select public.as_definer()'))).toEqual([MALLORY])
  expect(await recorded(() => db.owner.query('select public.as_definer()'))).toEqual([MALLORY])
})

test('records who wrote the row for a trigger with the rights of the caller', async () => {
  await mallory.query(`
    create table bait (n integer);
    grant insert on bait to public;
    create function enqueue_bait() returns trigger language plpgsql as $$
    begin perform public.pg_background_enqueue('select 1'); return new; end $$;
    create trigger t before insert on bait for each row execute function enqueue_bait()`)
  const by = await recorded(() => db.admin.query('insert into bait values (1)'))
  await mallory.query('drop table bait; drop function enqueue_bait')
  const { me } = await db.admin.one('select current_user::text as me')
  expect(by).toEqual([me])
})

test('keeps the role setting and a changed session_user out of what is recorded', async () => {
  expect(
    await recorded(async () => {
      await db.admin.query(`set session authorization ${MALLORY}`)
      await db.admin.query(`select pg_background_enqueue('select 1')`)
      await db.admin.query('reset session authorization')
    }),
  ).toEqual([MALLORY])
  expect(
    await recorded(async () => {
      await db.admin.query(`set role ${MALLORY}`)
      await db.admin.query(`select pg_background_enqueue('select 1')`)
      await db.admin.query('reset role')
    }),
  ).toEqual([MALLORY])
})

test.each([
  ['grant', 'format(text, name)', `select background_queue.grant_enqueue('pgbq_alice')`],
  ['revoke', 'format(text, name)', `select background_queue.revoke_enqueue('pgbq_alice')`],
  [
    'refuse a value',
    'format(text, text, text, text)',
    `select background_queue.set_parameter('', 'priority', 'x')`,
  ],
  ['cancel', 'format(text, name)', 'select pg_background_cancel(1)'],
  ['calibrate', 'pg_stat_clear_snapshot(integer)', 'select background_queue.calibrate()'],
])("runs no planted function when the queue's owner is made to %s", async (_, signature, call) => {
  await mallory.query(`create function public.${signature} returns text language plpgsql as $$
    begin raise exception 'planted function ran as %', current_user; end $$`)
  await db.owner.query(`select pg_background_enqueue('select 1')`)
  try {
    await db.owner.query(call)
  } catch (error) {
    expect((error as Error).message).not.toMatch('planted')
  } finally {
    await mallory.query(`drop function public.${signature}`)
  }
})

test('records her for what her index function enqueues when autovacuum runs it, with nobody logged in', async (context) => {
  const allowed = await db.admin
    .query(`alter system set autovacuum_naptime = '1s'`)
    .then(() => true)
    .catch(() => false)
  if (!allowed) context.skip('the server allows no ALTER SYSTEM; ANALYZE by a superuser is tested above')
  await db.admin.query('select pg_reload_conf()')
  try {
    await mallory.query(`
      create table bait (n integer) with (autovacuum_analyze_threshold = 1, autovacuum_analyze_scale_factor = 0);
      create function is_bait(n integer) returns integer language plpgsql immutable as $$
      begin
        if pg_catalog.current_setting('application_name') = '' then
          perform pg_catalog.set_config('background_queue.woken', pg_catalog.pg_current_xact_id()::text, true);
          perform public.pg_background_enqueue('${ATTACK}');
        end if;
        return n;
      end $$;
      create index on bait (is_bait(n));
      insert into bait select generate_series(1, 3)`)
    const by = await recorded(async () => {
      await mallory.query('insert into bait values (4)')
      await waitFor(
        'autovacuum to have analyzed',
        async () => {
          await mallory.query('select') // before PostgreSQL 15 an idle session keeps its statistics to itself
          return (await db.owner.query('select from pg_background_tasks')).length > 0
        },
        25_000,
      )
    })
    expect(by).toEqual([MALLORY])
  } finally {
    await db.admin.query('alter system reset autovacuum_naptime')
    await db.admin.query('select pg_reload_conf()')
    await mallory.query('drop table if exists bait; drop function if exists is_bait')
  }
})

test("runs no planted operator when the queue's owner inserts into the table", async () => {
  const state = 'public.pg_background_queue_task_state'
  await mallory.query(`
    create function public.is_same(${state}, ${state}) returns boolean language plpgsql as
      $$ begin raise exception 'planted operator ran as %', current_user; end $$;
    create operator public.= (leftarg = ${state}, rightarg = ${state}, function = public.is_same)`)
  try {
    const owner = await db.session()
    await owner.query(`insert into pg_background_tasks (sql_statement, topic) values ('select 1', 'planted')`)
    await owner.query(`update pg_background_tasks set priority = 5 where topic = 'planted'`)
    await owner.query(`delete from pg_background_tasks where topic = 'planted'`)
  } finally {
    await mallory.query(`drop operator public.= (${state}, ${state}); drop function public.is_same`)
  }
})
