import { beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Database } from '../../src/engine/database/database.js'
import { WorkerSession } from '../../src/engine/worker/session.js'
import { useDatabase } from '../support/database.js'
import { useExecutor } from '../support/executor.js'
import { OWNER } from '../support/names.js'
import { waitFor } from '../support/wait.js'
import { enqueue, pidOf, type SqlWorker, startWorker, useRole } from './sql-support.js'

/** A hostile enqueuer whose tasks run in a worker that logs in as her, beside a task of the queue's owner. */

const db = useDatabase()
const MALLORY = useRole(db, 'mallory')
const executor = useExecutor(db, MALLORY)

let mallory: Database
let victim: { id: bigint; token: string; worker: SqlWorker }

beforeAll(async () => {
  await db.owner.query('select background_queue.grant_enqueue($1)', [MALLORY])
  await db.admin.query(`create schema evil authorization ${MALLORY}`)
  mallory = await db.session(MALLORY)
  const id = await enqueue(db.owner, 'select 1', 'of the owner')
  const worker = await startWorker(db)
  victim = { id, token: (await worker.take()).token, worker }
})

/** What no attack may change: the owner's task, her own rights, the settings of roles. */
async function state(): Promise<unknown> {
  return db.admin.one(
    `select (select to_jsonb(t) from pg_background_tasks t where t.id = $1) as task,
       (select to_jsonb(r) - 'rolconfig' from pg_roles r where r.rolname = $2) as role,
       (select jsonb_agg(to_jsonb(w)) from background_queue.workers w where w.id = $3) as worker,
       (select jsonb_agg(to_jsonb(l)) from background_queue.lanes l) as lanes,
       (select jsonb_agg(m.roleid) from pg_auth_members m where m.member = $2::regrole) as memberships`,
    [victim.id, MALLORY, victim.worker.id],
  )
}

const PQ = { lost: 'PQ001', unknown: 'PQ003' }
const DENIED = '42501'

describe('a task', () => {
  // V the owner's running task, W his worker, S that worker's secret, O the owner
  test.each<[what: string, sql: string, sqlstate: string]>([
    ['finish the task of another', `select background_queue.finish(V, 'guess', 1, 'SELECT')`, PQ.lost],
    ['fail the task of another', `select background_queue.fail(V, 'guess', '{"message": "x"}')`, PQ.lost],
    ['release the task of another', `select background_queue.release(V, 'guess', 'x')`, PQ.lost],
    ['move the task of another on', `select background_queue.step(V, 'guess', 1)`, PQ.lost],
    ['begin the task of another anew', `select background_queue.restart(V, 'guess')`, PQ.lost],
    ['end a task without a token', `select background_queue.finish(V, null, 1, 'SELECT')`, PQ.lost],
    [
      'end its own with the hash that it can read',
      `select background_queue.finish(id, encode(token_hash, 'hex'), 1, 'X') from pg_background_tasks where state = 'running'`,
      PQ.lost,
    ],
    [
      "claim as another's worker, even knowing its secret",
      `select background_queue.claim(W, 'S')`,
      PQ.unknown,
    ],
    ['ask for the end of a run', `select background_queue.request_end(V, W, null, 'cancel', 'x')`, DENIED],
    ['bury a worker', `select background_queue.bury_worker(W, true, 'x')`, DENIED],
    [
      'end the backend of a worker',
      `select pg_terminate_backend(pid) from pg_stat_activity where usename = 'O'`,
      DENIED,
    ],
    [
      'cancel what another runs',
      `select pg_cancel_backend(pid) from pg_stat_activity where usename = 'O'`,
      DENIED,
    ],
    ['rewrite its own row', `update pg_background_tasks set enqueued_by = 'O'`, DENIED],
    ['put off its own end', `update pg_background_tasks set timeout_in_sec = 0, token_hash = null`, DENIED],
    ['delete its own row', 'delete from pg_background_tasks', DENIED],
    ['take another role', 'set role O', DENIED],
    ['take another role behind RESET ROLE', 'reset role; set role O', DENIED],
    ['take the session of another', 'set session authorization O', DENIED],
    [
      'take another role in a part that commits by itself',
      `do $$ begin commit; reset session authorization; execute 'set role O'; end $$`,
      DENIED,
    ],
    ['take another role by a setting', `select set_config('role', 'O', false)`, DENIED],
    ['make itself more', 'alter role M createrole', DENIED],
    ['join the owner', 'grant O to M', DENIED],
    ["change the owner's settings", `alter role O set search_path = 'evil'`, DENIED],
    ['change the settings of the server', `alter system set work_mem = '1GB'`, DENIED],
    ['run a program', `copy (select 1) to program 'true'`, DENIED],
    ['read a file into a table', `create temp table t (line text); copy t from '/etc/passwd'`, DENIED],
    ['write a file', `copy (select 1) to '/tmp/pgbq-attack'`, DENIED],
    ['load a file into a large object', `select lo_import('/etc/passwd')`, DENIED],
    ['read a file', `select pg_read_file('/etc/passwd')`, DENIED],
    [
      'put a function into our schema',
      'create function background_queue.f() returns integer language sql as $$ select 1 $$',
      DENIED,
    ],
    [
      'replace a function of ours',
      'create or replace function background_queue.run_text(text) returns bigint language sql as $$ select 1::bigint $$',
      DENIED,
    ],
    [
      'enqueue as another through a function of its own',
      `create or replace function evil.f() returns void language plpgsql security definer as
         $$ begin insert into background_queue.inbox (sql_statement, caller) values ('select 1', 'O'); end $$;
       select evil.f()`,
      DENIED,
    ],
    [
      'act on others by a trigger that fires at the commit',
      `create table evil.t (n integer);
       create or replace function evil.t() returns trigger language plpgsql as
         $$ begin update public.pg_background_tasks set state = 'pending'; return null; end $$;
       create constraint trigger t after insert on evil.t deferrable initially deferred for each row execute function evil.t();
       insert into evil.t values (1)`,
      DENIED,
    ],
    [
      'act on others by a trigger that it puts off behind our finish',
      `create table evil.t (n integer);
       create or replace function evil.t() returns trigger language plpgsql as $$ begin
         if new.n = 1 then execute 'set constraints all deferred'; insert into evil.t values (2);
         else set role O; end if; return null; end $$;
       create constraint trigger t after insert on evil.t deferrable initially deferred for each row execute function evil.t();
       insert into evil.t values (1)`,
      DENIED,
    ],
    [
      'act on others by a cursor that is kept at the commit',
      `create or replace function evil.f() returns integer language plpgsql as
         $$ begin set role O; return 1; end $$;
       declare c cursor with hold for select evil.f()`,
      DENIED,
    ],
  ])('may not %s', async (_, sql, sqlstate) => {
    const before = await state()
    const known = new Map<string, unknown>([
      ['V', victim.id],
      ['W', victim.worker.id],
      ['S', victim.worker.secret],
      ['O', OWNER],
      ['M', MALLORY],
    ])
    const text = sql.replace(/\b[VWSOM]\b/g, (name) => String(known.get(name)))
    for (const mode of ['auto', 'autocommit']) {
      expect(await executor.run(text, { mode })).toMatchObject({ state: 'failed', sqlstate })
      await mallory.query('drop schema evil cascade; create schema evil').catch(() => undefined)
      await db.admin.query(`drop schema if exists evil cascade; create schema evil authorization ${MALLORY}`)
    }
    expect(await state()).toEqual(before)
    expect(await executor.run('select 1')).toMatchObject({ state: 'finished', tag: 'SELECT' })
  })
})

describe('the token of a claim', () => {
  beforeEach(async () => {
    await db.admin.query(`alter role ${MALLORY} reset all`)
  })

  /** Lets the task begin, then asks for its end, so that our finish is what fails. */
  async function refuseFinish(sql: string): Promise<string> {
    await db.owner.query('select pg_advisory_lock(77)')
    const running = executor.run(`${sql}; select pg_advisory_xact_lock(77)`)
    const row = await waitFor('the task to wait', () =>
      db.admin
        .query<{ id: bigint; worker_id: bigint }>(
          `select t.id, t.worker_id from pg_background_tasks t join pg_roles r on r.rolname = t.enqueued_by
         where t.state = 'running' and r.rolname = $1
           and exists (select from pg_stat_activity a where a.usename = $1 and a.wait_event = 'advisory')`,
          [MALLORY],
        )
        .then(([found]) => found),
    )
    await db.owner.query(`select background_queue.request_end($1, $2, null, 'cancel', $3)`, [
      row.id,
      row.worker_id,
      OWNER,
    ])
    await db.owner.query('select pg_advisory_unlock(77)')
    const outcome = await running
    expect(outcome.state).toBe('cancelled')
    return (
      JSON.stringify(
        (await db.owner.query('select * from background_queue.attempts where task_id = $1', [row.id])).concat(
          await db.owner.query('select errors from pg_background_tasks where id = $1', [row.id]),
        ),
        (_, v) => (typeof v === 'bigint' ? String(v) : v),
      ) + JSON.stringify(outcome.ending, (_, v) => (typeof v === 'bigint' ? String(v) : v))
    )
  }

  const UUID = /[0-9a-f]{8}-[0-9a-f]{4}-/

  test('is in no error that the task can read, whatever it sets', async () => {
    expect(await refuseFinish('set log_parameter_max_length_on_error = -1')).not.toMatch(UUID)
    expect(
      await refuseFinish(`set log_parameter_max_length_on_error = -1; set client_min_messages = debug5;
      set debug_print_plan = on`),
    ).not.toMatch(UUID)
  })

  test('is in no error either where its role sets it for every session', async () => {
    await mallory.query(`alter role ${MALLORY} set log_parameter_max_length_on_error = -1`)
    await db.admin.query('select pg_terminate_backend($1)', [await pidOf(executor.session.database)])
    await waitFor('the session to be lost', () => executor.session.database.lost)
    expect(await refuseFinish('select 1')).not.toMatch(UUID)
  })

  test('is in no statement that a session shows', async () => {
    await executor.run('create temp table seen as select query from pg_stat_activity; select 1')
    await executor.run(
      `create table evil.seen as select query from pg_stat_activity where usename = current_user`,
    )
    const shown = await db.admin.query<{ query: string }>('select query from evil.seen')
    expect(JSON.stringify(shown)).not.toMatch(UUID)
  })
})

test('a role whose search_path hides the functions of the server cannot name the backend of another as its own', async () => {
  const ownerPid = await pidOf(db.owner)
  await mallory.query(`
    create function evil.pg_backend_pid() returns integer language sql as 'select ${ownerPid}';
    create function evil.to_char(timestamp, text) returns text language sql as $$ select '2000-01-01' $$;
    create function evil.current_setting(text) returns text language sql as $$ select 'x' $$;
    create view evil.pg_stat_activity as select ${ownerPid} as pid;
    alter role ${MALLORY} set search_path = evil, pg_catalog`)
  try {
    const session = await WorkerSession.open(db.target(MALLORY))
    const backend = await session.identify()
    expect(backend.pid).toBe(backend.processId)
    expect(backend.startedAt).not.toMatch(/^2000/)
    expect(await session.run('select pg_backend_pid()')).toMatchObject({ tag: 'SELECT' })
    await session.database.close()
  } finally {
    await mallory.query(`alter role ${MALLORY} reset search_path`)
  }
})
