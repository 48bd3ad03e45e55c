import { beforeAll, describe, expect, test } from 'vitest'
import type { Database } from '../../src/engine/database/database.js'
import { install } from '../../src/engine/migrator.js'
import { useDatabase } from '../support/database.js'
import { ALICE, BOB, GROUP } from '../support/names.js'
import { enqueue, failure, findTask, useRole } from './sql-support.js'

const db = useDatabase()
const MALLORY = useRole(db, 'mallory')

let alice: Database
let bob: Database
let mallory: Database
beforeAll(async () => {
  for (const role of [ALICE, BOB]) await db.owner.query('select background_queue.grant_enqueue($1)', [role])
  await db.admin.query(`create schema own authorization ${ALICE}`)
  alice = await db.session(ALICE)
  bob = await db.session(BOB)
  mallory = await db.session(MALLORY)
})

const TABLE_RIGHTS = 'SELECT,INSERT,UPDATE,DELETE,TRUNCATE,REFERENCES,TRIGGER'

/** Every right that a role has on an object of the queue: `kind name right` */
async function rightsOf(role: string): Promise<string[]> {
  const rows = await db.admin.query<{ item: string }>(
    `select item from (
       select 'schema ' || nspname || ' ' || r as item from pg_namespace, unnest(array['USAGE', 'CREATE']) r
       where nspname = 'background_queue' and has_schema_privilege($1, oid, r)
       union all
       select 'table ' || relname || ' ' || r from pg_class, unnest(string_to_array($2, ',')) r
       where relkind in ('r', 'v') and (relnamespace = 'background_queue'::regnamespace or relname = 'pg_background_tasks')
         and has_table_privilege($1, oid, r)
       union all
       select 'column ' || relname || '.' || attname || ' ' || r from pg_class c join pg_attribute a on attrelid = c.oid and attnum > 0,
         unnest(array['SELECT', 'INSERT', 'UPDATE', 'REFERENCES']) r
       where relkind in ('r', 'v') and (relnamespace = 'background_queue'::regnamespace or relname = 'pg_background_tasks')
         and has_column_privilege($1, c.oid, attnum, r) and not has_table_privilege($1, c.oid, r)
       union all
       select 'sequence ' || relname || ' ' || r from pg_class, unnest(array['USAGE', 'SELECT', 'UPDATE']) r
       where relkind = 'S' and (relnamespace = 'background_queue'::regnamespace or relname like 'pg_background%')
         and has_sequence_privilege($1, oid, r)
       union all
       select 'function ' || oid::regprocedure from pg_proc
       where (pronamespace = 'background_queue'::regnamespace or proname like 'pg_background%')
         and pronamespace <> 'pg_catalog'::regnamespace and has_function_privilege($1, oid, 'EXECUTE')
     ) rights order by item`,
    [role, TABLE_RIGHTS],
  )
  return rows.map((row) => row.item)
}

const GRANTED = [
  'column commands.count SELECT',
  'column commands.done SELECT',
  'column commands.task_id INSERT',
  'column commands.verb INSERT',
  'column inbox.existing SELECT',
  'column inbox.id SELECT',
  'column inbox.options INSERT',
  'column inbox.sql_statement INSERT',
  'column inbox.topic INSERT',
  'column inbox_many.added SELECT',
  'column inbox_many.first_id SELECT',
  'column inbox_many.last_id SELECT',
  'column inbox_many.options INSERT',
  'column inbox_many.statements INSERT',
  'column inbox_many.topics INSERT',
  'column questions.facts SELECT',
  'column questions.task_id INSERT',
  'function background_queue.begin_next()',
  'function background_queue.claim(bigint,text)',
  'function background_queue.fail(bigint,text,jsonb)',
  'function background_queue.finish(bigint,text,bigint,text)',
  'function background_queue.finish_and_claim(bigint[],text,bigint[],text[],double precision[],bigint,text,boolean)',
  'function background_queue.pass()',
  'function background_queue.release(bigint,text,text)',
  'function background_queue.restart(bigint,text)',
  'function background_queue.run_each(text[],boolean)',
  'function background_queue.run_text(text)',
  'function background_queue.step(bigint,text,integer)',
  'function background_queue.take(bigint,text,bigint,text,integer)',
  'function background_queue.undo()',
  'function pg_background_cancel(bigint)',
  'function pg_background_enqueue(text,text)',
  'function pg_background_enqueue(text,text,jsonb)',
  'function pg_background_queue_active_workers_count()',
  'function pg_background_queue_calibrate_workers_count()',
  'function pg_background_queue_ensure_workers()',
  'function pg_background_retry(bigint)',
  'schema background_queue USAGE',
  'table attempts SELECT',
  'table installed SELECT',
  'table notices SELECT',
  'table pg_background_tasks SELECT',
]

test('gives a role that was granted nothing no right at all', async () => {
  expect(await rightsOf(MALLORY)).toEqual([])
})

test('gives a role that may enqueue just what that takes', async () => {
  expect((await rightsOf(ALICE)).sort()).toEqual([...GRANTED].sort())
})

test('takes everything back', async () => {
  await db.owner.query('select background_queue.grant_enqueue($1)', [MALLORY])
  expect(await rightsOf(MALLORY)).toHaveLength(GRANTED.length)
  await db.owner.query('select background_queue.revoke_enqueue($1)', [MALLORY])
  expect(await rightsOf(MALLORY)).toEqual([])
  expect((await failure(enqueue(mallory))).sqlstate).toBe('42501')
})

test('hands nothing out by the default privileges of the owner, and keeps what was granted', async () => {
  await db.owner.query(`
    alter default privileges grant all on tables to ${MALLORY};
    alter default privileges grant all on sequences to ${MALLORY};
    alter default privileges grant all on functions to ${MALLORY};
    alter default privileges grant all on schemas to ${MALLORY};
    grant all on all tables in schema background_queue to ${MALLORY}, public;
    grant all on all sequences in schema background_queue, public to ${MALLORY}, public;
    grant all on all functions in schema background_queue to ${MALLORY}, public;
    grant all on schema background_queue to ${MALLORY}, public;
    grant all on pg_background_tasks to ${MALLORY}, public;
    drop view background_queue.commands`)
  await install(db.owner)
  expect(await rightsOf(MALLORY)).toEqual([])
  expect((await rightsOf(ALICE)).sort()).toEqual([...GRANTED].sort())
})

describe('a role that may enqueue', () => {
  test.each([
    [
      'name another caller',
      `insert into background_queue.inbox (sql_statement, caller) values ('select 1', 'pgbq_owner')`,
    ],
    [
      'name the default caller',
      `insert into background_queue.inbox (sql_statement, caller) values ('select 1', default)`,
    ],
    [
      'name another caller by oid',
      `insert into background_queue.inbox (sql_statement, caller_oid) values ('select 1', 10)`,
    ],
    [
      'name another caller of many',
      `insert into background_queue.inbox_many (statements, caller) values (array['select 1'], 'pgbq_owner')`,
    ],
    [
      'name another caller of a command',
      `insert into background_queue.commands (verb, task_id, caller) values ('cancel', 1, 'pgbq_owner')`,
    ],
    ['choose an id', `insert into background_queue.inbox (id, sql_statement) values (1, 'select 1')`],
    ['insert into the table', `insert into pg_background_tasks (sql_statement) values ('select 1')`],
    ['update the table', `update pg_background_tasks set priority = 1`],
    ['delete from the table', 'delete from pg_background_tasks'],
    ['truncate the table', 'truncate pg_background_tasks'],
    ['lock rows for update', 'select from pg_background_tasks for update'],
    ['lock rows for key share', 'select from pg_background_tasks for key share'],
    ['lock the table', 'lock table pg_background_tasks in row exclusive mode'],
    ['lock the gate', 'lock table background_queue.claim_gate in access share mode'],
    ['use the sequence', `select nextval('pg_background_tasks_id_seq')`],
    ['refer to the table', 'create table own.t (id bigint references public.pg_background_tasks)'],
    [
      'put a trigger on the table',
      'create trigger t before insert on pg_background_tasks for each row execute function suppress_redundant_updates_trigger()',
    ],
    ['switch row security off', 'alter table pg_background_tasks disable row level security'],
    ['read the workers', 'select from background_queue.workers'],
    ['read the settings', 'select from background_queue.settings'],
    ['change a parameter', `select background_queue.set_parameter('', 'priority', '1')`],
    ['grant', `select background_queue.grant_enqueue('pgbq_bob')`],
    [
      'register a worker',
      `select background_queue.register_worker(1, 'h', 1, 'pgbq_owner', false, pg_backend_pid(), null, now(), 's')`,
    ],
    ['rescue', `select background_queue.rescue(1, true, 'x')`],
    ['prune', 'select background_queue.prune(1)'],
    ['calibrate by the inner function', 'select background_queue.calibrate()'],
    ['ask for the end of a run', `select background_queue.request_end(1, 1, null, 'cancel', 'pgbq_alice')`],
    ['call an inner function', `select background_queue.lane_of('a')`],
    ['call the trigger function of enqueue', 'select background_queue.enqueue()'],
    [
      'put the trigger function of enqueue on a table of its own',
      'create temp table own (sql_statement text); create trigger t before insert on own for each row execute function background_queue.enqueue()',
    ],
  ])('may not %s', async (_, sql) => {
    await alice.query('begin')
    const refused = await failure(alice.query(sql))
    await alice.query('rollback')
    // SQLSTATE 0A000: trigger functions can only be called as triggers
    expect(['42501', '0A000']).toContain(refused.sqlstate)
  })

  test('sees its own rows, attempts and topics only, also where a function looks on', async () => {
    const own = await enqueue(alice, 'select 1', 'of alice')
    const other = await enqueue(bob, 'select 2', 'of bob')
    await db.owner.query(
      `insert into background_queue.attempts (task_id, outcome) values ($1, 'failed'), ($2, 'failed')`,
      [own, other],
    )
    expect(await alice.query('select id from pg_background_tasks')).toEqual([{ id: own }])
    expect(await bob.query('select topic from pg_background_tasks')).toEqual([{ topic: 'of bob' }])
    expect(await alice.query('select task_id from background_queue.attempts')).toEqual([{ task_id: own }])
    const seen: string[] = []
    alice.onNotice(({ message }) => seen.push(message))
    await alice.query(`create function pg_temp.leak(t text) returns boolean language plpgsql cost 0.0000001 as
      $$ begin raise notice '%', t; return true; end $$;
      select from pg_background_tasks where pg_temp.leak(sql_statement)`)
    expect(seen).toEqual(['select 1'])
    expect(await alice.query(`select from pg_stats where tablename = 'pg_background_tasks'`)).toEqual([])
    expect((await db.owner.query('select from pg_background_tasks')).length).toBeGreaterThanOrEqual(2)
  })

  test('learns nothing of the keys of others', async () => {
    await enqueue(bob, 'select 1', null, { unique_key: 'secret' })
    await expect(enqueue(alice, 'select 1', null, { unique_key: 'secret' })).resolves.toBeTypeOf('bigint')
  })

  test('enqueues and counts workers whatever it shadows', async () => {
    await alice.query(`
      create temp table pg_background_tasks (sql_statement text);
      create temp table inbox (sql_statement text);
      create function pg_temp.length(text) returns integer language plpgsql as $$ begin raise 'shadowed'; end $$;
      create function pg_temp.sha256(bytea) returns bytea language plpgsql as $$ begin raise 'shadowed'; end $$;
      create function pg_temp.pg_notify(text, text) returns void language plpgsql as $$ begin raise 'shadowed'; end $$;
      set search_path = pg_temp, public, pg_catalog`)
    const id = await enqueue(alice, 'select 1')
    expect(await findTask(db, id)).toMatchObject({ enqueued_by: ALICE, sql_statement: 'select 1' })
    await alice.query('select public.pg_background_cancel($1)', [id])
    expect((await findTask(db, id)).state).toBe('cancelled')
    await alice.query(
      'select public.pg_background_queue_active_workers_count(), public.pg_background_queue_ensure_workers()',
    )
    await alice.query('discard temp; reset search_path')
  })

  test('is recorded after SET ROLE as the role it set', async () => {
    await db.owner.query('select background_queue.grant_enqueue($1)', [GROUP])
    await alice.query(`set role ${GROUP}`)
    const id = await enqueue(alice)
    await alice.query('reset role')
    expect((await findTask(db, id)).enqueued_by).toBe(GROUP)
  })
})
