import { afterAll, beforeAll, beforeEach, describe, expect, inject, onTestFinished, test, vi } from 'vitest'
import { schemaVersion } from '../../src/engine/sql-files.js'
import { pgbq } from '../support/cli.js'
import { useDatabase } from '../support/database.js'
import { ALICE, OWNER, withDatabase } from '../support/names.js'
import { installStandIn, removeStandIn } from '../support/stand-in.js'
import { waitFor } from '../support/wait.js'

vi.setConfig({ testTimeout: 60_000 })

const db = useDatabase({ isEmpty: true })
const superUrl = () => withDatabase(inject('serverUrl'), db.name)
const move = (...args: string[]) => pgbq(['install', '--from-extension', ...args], { url: superUrl() })
const rows = (sql: string) => db.admin.query<any>(sql)
const one = async (sql: string) => (await rows(sql))[0]

/** One task in each state, as the extension may leave it. */
const TASKS = `insert into pg_background_tasks (id, sql_statement, topic, joined_at, started_at, closed_at, priority, state,
    retry_count, retry_delay_in_sec, errors) values
  (1, 'select 1', '', '2026-07-01 12:00', null, null, 100, 'pending', 0, 0, null),
  (2, 'select 2', 'mail', '2026-07-01 12:00', '2026-07-01 12:01', null, 7, 'running', 1, 2, 'an earlier error'),
  (3, 'select 3', null, '2026-07-01 12:00', '2026-07-01 12:01', null, 100, 'retrying', 2, 4, 'ERROR'),
  (4, 'select 4', null, '2026-07-01 12:00', null, null, 100, 'retrying', 1, 2, null),
  (5, 'select 1/0', 'mail', '2026-07-01 12:00', '2026-07-01 12:01', '2026-07-01 12:02', 100, 'failed', 3, 8, 'division'),
  (6, 'select 6', null, '2026-07-01 12:00', null, null, 100, 'failed', 0, 0, null),
  (9, 'select 9', null, now() at time zone 'Europe/Berlin', '2026-07-01 12:01', now() at time zone 'Europe/Berlin', -5,
    'finished', 1, 2, 'an earlier error');
  select setval('pg_background_tasks_id_seq', 41)`
const MOVED = `select id, sql_statement, topic, joined_at, started_at, closed_at, priority, state::text, retry_count,
  retry_delay_in_sec, errors, run_at, enqueued_by::text from pg_background_tasks order by id`

/** All that a refused or failed move must leave as it is. */
const picture = () =>
  rows(`select (select json_agg(t order by id) from pg_background_tasks t) as tasks,
    (select last_value from pg_background_tasks_id_seq) as last,
    (select json_agg(pg_describe_object(classid, objid, 0) order by 1) from pg_depend
     where deptype = 'e' and refobjid = (select oid from pg_extension where extname = 'pg_background_queue')) as members,
    (select json_agg(c.relname || c.relacl::text order by 1) from pg_class c where c.relnamespace = 'public'::regnamespace) as classes,
    (select json_agg(nspname order by 1) from pg_namespace where nspname like 'background%') as schemas,
    (select json_agg(extconfig::text) from pg_extension) as config`)

let refusal: string | undefined
beforeAll(async () => {
  refusal = await installStandIn(db.admin)
})
afterAll(removeStandIn)

beforeEach(async (ctx) => {
  if (refusal !== undefined) ctx.skip(refusal)
  await db.admin.query(`drop extension if exists pg_background_queue cascade; drop schema public cascade;
    drop schema if exists background_queue cascade; create schema public authorization ${OWNER};
    create extension pg_background_queue schema public`)
  await db.admin.query(TASKS)
})

describe('moving over', () => {
  test('keeps every row and id, and gives each what its state promises', async () => {
    const { code, json } = await move(
      ...['--json', '--owner', OWNER, '--stuck', 'pending', '--time-zone', 'Europe/Berlin'],
    )
    expect(code).toBe(0)
    expect(json).toEqual({
      schema: 'public',
      from: null,
      to: schemaVersion(),
      applied: expect.arrayContaining(['0001_tasks']),
      moved: {
        version: '1.0',
        tasks: { pending: 1, running: 1, retrying: 2, failed: 2, finished: 1 },
        stuck: { count: 1, became: 'pending' },
        owner: OWNER,
        time_zone: 'Europe/Berlin',
        settings: [],
        library_loaded: false,
        lost_rights: [],
        prunable: { count: 2, days: 30 },
      },
    })
    const noon = '2026-07-01T10:00:00Z'
    const [first, stuck, retrying, bare, failed, quiet, finished] = await rows(MOVED)
    expect(first).toMatchObject({ id: 1n, topic: null, state: 'pending', joined_at: noon, run_at: noon })
    expect(stuck).toMatchObject({ id: 2n, topic: 'mail', state: 'pending', started_at: null, priority: 7 })
    expect(stuck).toMatchObject({ retry_count: 1, errors: 'an earlier error', enqueued_by: OWNER })
    expect(retrying).toMatchObject({ id: 3n, state: 'retrying', retry_count: 2, retry_delay_in_sec: 4 })
    expect(retrying.run_at).toBe('2026-07-01T10:01:04Z')
    expect(bare).toMatchObject({ id: 4n, state: 'retrying', started_at: noon, errors: 'no error was kept' })
    expect(failed).toMatchObject({ id: 5n, state: 'failed', closed_at: '2026-07-01T10:02:00Z' })
    expect(failed).toMatchObject({ retry_count: 3, errors: 'division' })
    expect(quiet).toMatchObject({ id: 6n, state: 'failed', closed_at: noon, errors: null })
    expect(finished).toMatchObject({ id: 9n, state: 'finished', errors: null, priority: -5 })
    expect(await rows('select task_id, message from background_queue.attempts')).toEqual([
      { task_id: 9n, message: 'an earlier error' },
    ])
  })

  test('leaves nothing of the extension, and a queue that works on with the next id', async () => {
    expect((await move('--owner', OWNER, '--stuck', 'pending')).code).toBe(0)
    expect(await rows(`select from pg_extension where extname = 'pg_background_queue'`)).toEqual([])
    expect(await rows(`select from pg_namespace where nspname = 'background_queue_moving'`)).toEqual([])
    expect(await rows('select * from background_queue.rights_problems()')).toEqual([])
    const { json } = await pgbq(['enqueue', 'select 1', '--json'], { url: db.url() })
    expect(json).toEqual({ id: 42 })
    expect((await pgbq(['work', '--drain', '--warm', '1'], { url: db.url() })).code).toBe(0)
    const states = await rows(
      "select id, state::text from pg_background_tasks where closed_at > now() - interval '1 hour' order by 1",
    )
    expect(states).toEqual([1, 2, 3, 4, 9, 42].map((id) => ({ id: BigInt(id), state: 'finished' })))
    const { code, stdout } = await pgbq(['doctor', '--json'], { url: db.url() })
    const problems = JSON.parse(stdout).checks.filter((check: any) => check.level === 'problem')
    expect({ code, problems }).toEqual({ code: 0, problems: [] })
  })

  test('fails what was stuck, where told so, and says that nobody knows', async () => {
    const { stdout } = await move('--owner', OWNER, '--stuck', 'failed')
    expect(stdout).toContain('\n1 that ran when a worker died is failed\n')
    expect(
      await one(
        'select state::text, errors, started_at is not null as began from pg_background_tasks where id = 2',
      ),
    ).toEqual({
      state: 'failed',
      errors: 'Was running when the queue moved from the extension; whether its SQL took effect is not known',
      began: true,
    })
  })

  test('needs no --stuck where nothing is, and reads instants in the zone of the role', async () => {
    await rows(`delete from pg_background_tasks where state = 'running';
      alter database ${db.name} set timezone = 'Asia/Kolkata'`)
    onTestFinished(async () => void (await rows(`alter database ${db.name} reset timezone`)))
    const { code, stdout } = await move('--owner', OWNER)
    expect(code).toBe(0)
    expect(stdout).toContain('instants were read in time zone Asia/Kolkata')
    expect((await one(MOVED)).joined_at).toBe('2026-07-01T06:30:00Z')
  })

  test('carries the settings of the server over, which stay in force', async () => {
    await rows(`alter database ${db.name} set pg_background_queue.retry_count = '3'`)
    await rows(
      `alter database ${db.name} set pg_background_queue.topic_config = '{"mail": {"delay_in_sec": 5}}'`,
    )
    onTestFinished(async () => void (await rows(`alter database ${db.name} reset all`)))
    const { stdout } = await move('--owner', OWNER, '--stuck', 'failed')
    expect(stdout).toContain(
      `\nThe server's settings stay in force: retry_count 3, delay_in_sec 5 for topic "mail"\n`,
    )
    expect((await pgbq(['config', 'get', 'retry_count'], { url: db.url() })).stdout).toBe('3\n')
    expect(await one('select lane from pg_background_tasks where id = 2')).toEqual({ lane: '' })
  })

  test('names the roles that lose their right to enqueue, but not those that are granted it', async () => {
    await rows(`grant insert on pg_background_tasks to ${ALICE}`)
    const args = ['--owner', OWNER, '--stuck', 'failed']
    expect((await move(...args, '--dry-run')).stdout).toContain(
      `\nRoles that could enqueue need it granted: pgbq install --grant-enqueue ${ALICE}`,
    )
    const { json } = await move(...args, '--grant-enqueue', ALICE, '--json')
    expect(json.moved.lost_rights).toEqual([])
    expect((await pgbq(['enqueue', 'select 1'], { url: db.url(ALICE) })).code).toBe(0)
  })

  test('goes on in the schema of the extension', async () => {
    await rows(`create schema jobs authorization ${OWNER}; drop extension pg_background_queue;
      create extension pg_background_queue schema jobs; select jobs.pg_background_enqueue('select 1')`)
    expect((await move('--owner', OWNER, '--json')).json).toMatchObject({
      schema: 'jobs',
      moved: { tasks: { pending: 1 } },
    })
    expect(await one('select id, state::text from jobs.pg_background_tasks')).toEqual({
      id: 1n,
      state: 'pending',
    })
  })
})

describe('nothing is changed', () => {
  let before: unknown
  beforeEach(async () => {
    await rows(`grant insert on pg_background_tasks to ${ALICE}`)
    before = await picture()
  })

  test('by a dry run, which says what would be done', async () => {
    const { code, stdout } = await move('--owner', OWNER, '--stuck', 'pending', '--dry-run')
    expect(code).toBe(0)
    expect(stdout.split('\n').slice(0, 4)).toEqual([
      expect.stringMatching(
        /^Nothing was changed\. The queue would be installed in schema "public", version /,
      ),
      'The C extension pg_background_queue 1.0 would be dropped',
      '7 tasks would be taken over under their ids: 1 pending, 1 running, 2 retrying, 2 failed, 1 finished',
      '1 that ran when a worker died would be pending',
    ])
    expect(await picture()).toEqual(before)
  })

  test('by an install that was not asked to move, which names the way', async () => {
    const { code, stderr } = await pgbq(['install'], { url: superUrl() })
    expect(code).toBe(1)
    expect(stderr).toMatch(/\nTry this: pgbq install --from-extension, which takes its tasks over\n$/)
    expect(await picture()).toEqual(before)
  })

  const OWNED = ['--owner', OWNER, '--stuck', 'pending']
  test.each<[string, string[], string | undefined, number, RegExp]>([
    [
      'running tasks and no word of them',
      ['--owner', OWNER],
      undefined,
      2,
      /^Error: 1 task is in state running without a worker; [^\n]+\nTry this: pgbq install --from-extension --stuck pending, /,
    ],
    [
      'a superuser who names no owner',
      ['--stuck', 'pending'],
      undefined,
      2,
      /^Error: The extension did not record who enqueued [^\n]+\nTry this: pgbq install --from-extension --owner ROLE, /,
    ],
    [
      'an owner that does not exist',
      ['--owner', 'pgbq_nobody'],
      undefined,
      1,
      /^Error: No role is named "pgbq_nobody"\n/,
    ],
    [
      'an unknown time zone',
      [...OWNED, '--time-zone', 'Mars/Base'],
      undefined,
      2,
      /^Error: Expected --time-zone to name /,
    ],
    [
      'a view upon the table',
      OWNED,
      'create view v as select * from pg_background_tasks',
      1,
      /^Error: Others have built upon the extension: view public\.v depends on table public\.pg_background_tasks/,
    ],
    [
      'a column that was added',
      OWNED,
      'alter table pg_background_tasks add extra text',
      1,
      /^Error: The extension's table is not as documented: column "extra" has no place in the queue\n/,
    ],
    [
      'a trigger that was added',
      OWNED,
      'create trigger t before update on pg_background_tasks for each row execute function suppress_redundant_updates_trigger()',
      1,
      /^Error: [^\n]+ trigger "t" would be lost\n/,
    ],
    [
      'a topic that is too long',
      OWNED,
      `insert into pg_background_tasks (sql_statement, topic) values ('x', repeat('x', 201))`,
      1,
      /^Error: Task \d+ of the extension has a topic of more than 200 characters\n/,
    ],
    [
      'an owner without the right to make a schema',
      ['--owner', ALICE, '--stuck', 'pending'],
      undefined,
      1,
      /^Error: The role "pgbq_alice" may not install the queue: /,
    ],
    // in the middle of it: the extension is already gone, and the functions are being made
    [
      "somebody else's function in the way",
      OWNED,
      `create function public.pg_background_cancel(id bigint) returns boolean language sql as 'select true'`,
      1,
      /^Error: The role "pgbq_owner" may not install the queue: /,
    ],
    // at the end of it: the queue is made, and its table refuses a row
    [
      'a row that the table refuses',
      OWNED,
      `update pg_background_tasks set joined_at = 'infinity', started_at = null,
      retry_delay_in_sec = 2147483647, state = 'retrying' where id = 4;
      update pg_background_tasks set joined_at = '294276-12-31', retry_delay_in_sec = 2147483647, state = 'retrying',
      started_at = null, closed_at = null where id = 3`,
      1,
      /^Error: timestamp out of range/,
    ],
  ])('by %s', async (_, args, change, code, message) => {
    if (change !== undefined) await rows(change)
    before = await picture()
    const result = await move(...args)
    expect({ code: result.code, stdout: result.stdout }).toEqual({ code, stdout: '' })
    expect(result.stderr).toMatch(message)
    expect(await picture()).toEqual(before)
  })

  test('while a worker of the extension lives, which may run a task and take another', async () => {
    const worker = await db.session()
    await worker.query(`set application_name = 'pg_background_queue worker'`)
    const { pid } = await worker.one<{ pid: number }>('select pg_backend_pid() as pid')
    const { code, stderr } = await move('--owner', OWNER, '--stuck', 'pending')
    expect(code).toBe(1)
    expect(stderr).toMatch(
      new RegExp(`^Error: A worker of the extension lives: backend ${pid}\nTry this: wait for its end, `),
    )
    expect(await picture()).toEqual(before)
    await worker.close()
  })

  test('where the extension is not', async () => {
    await rows('drop extension pg_background_queue')
    const { code, stderr } = await move('--owner', OWNER)
    expect(code).toBe(1)
    expect(stderr).toBe(
      'Error: The C extension pg_background_queue is not in this database\nTry this: pgbq install\n',
    )
  })
})

test('waits for whoever has the table in use, then moves what that one added', async () => {
  const other = await db.admin.one<any>('select pg_backend_pid() as pid')
  await db.admin.query(`begin; select pg_background_enqueue('select 10', 'late')`)
  const moving = move('--owner', OWNER, '--stuck', 'failed', '--json')
  const looker = await db.session()
  await waitFor('the move to wait for the table', async () => {
    const waiting = await looker.query(
      `select from pg_locks where relation = to_regclass('public.pg_background_tasks') and not granted
       and ${other.pid} = any (pg_blocking_pids(pid))`,
    )
    return waiting.length > 0
  })
  await db.admin.query('commit')
  expect((await moving).json.moved.tasks).toMatchObject({ pending: 2 })
  expect(await one(`select id, topic from pg_background_tasks where id = 42`)).toEqual({
    id: 42n,
    topic: 'late',
  })
  await looker.close()
})
