import { randomBytes } from 'node:crypto'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { Database } from '../../src/engine/database/database.js'
import { resolveTarget } from '../../src/engine/database/target.js'
import { installedVersion, requireInstalled } from '../../src/engine/installed.js'
import { install } from '../../src/engine/migrator.js'
import { inSchema, readMigrations, schemaVersion } from '../../src/engine/sql-files.js'
import { useDatabase } from '../support/database.js'
import { ALICE, BOB, OWNER, withDatabase, withUser } from '../support/names.js'
import { useRole } from './sql-support.js'

const db = useDatabase({ isEmpty: true })
const MALLORY = useRole(db, 'mallory')

/** A database of each test's own. */
let name: string
let sessions: Database[]
const open = async (role?: string): Promise<Database> => {
  const url = withDatabase(db.url(), name)
  const target = role === undefined ? db.admin.target : resolveTarget(withUser(url, role))
  const session = await Database.connect(
    { ...target, config: { ...target.config, database: name, connectionString: undefined } } as typeof target,
    { applicationName: 'pgbq tests' },
  )
  sessions.push(session)
  return session
}
let owner: Database
beforeEach(async () => {
  name = `pgbq_test_${randomBytes(6).toString('hex')}`
  sessions = []
  await db.admin.query(`create database ${name} owner ${OWNER}`)
  owner = await open(OWNER)
})
afterEach(async () => {
  await Promise.all(sessions.map((session) => session.close()))
  await db.admin.query(`drop database ${name} with (force)`)
})

const ALL = [
  '0001_tasks',
  '0002_workers',
  '0003_settings',
  '0004_refused_roles',
  '0005_failed_index',
  '0006_notices',
  '0007_settled_lanes',
]
const VERSION = schemaVersion()

/** What stands in the catalog, without oids and without the order in which it came. */
async function catalog(session: Database): Promise<string[]> {
  const rows = await session.query<{ item: string }>(`
    with ours as (select oid from pg_namespace where nspname in ('background_queue', 'public', 'jobs'))
    select item from (
      select format('%s %s %s %s', relkind, oid::regclass, pg_get_userbyid(relowner), relacl) as item from pg_class
      where relnamespace in (select * from ours)
      union all
      select format('column %s.%s %s %s %s %s', attrelid::regclass, attname, attnum, format_type(atttypid, atttypmod), attnotnull, attacl) || coalesce(pg_get_expr(adbin, adrelid), '')
      from pg_attribute join pg_class c on c.oid = attrelid left join pg_attrdef on adrelid = attrelid and adnum = attnum
      where relnamespace in (select * from ours) and attnum > 0
      union all
      select format('function %s %s %s %s', oid::regprocedure, pg_get_userbyid(proowner), proacl, md5(pg_get_functiondef(oid))) from pg_proc
      where pronamespace in (select * from ours)
      union all
      select 'index ' || pg_get_indexdef(indexrelid) from pg_index join pg_class c on c.oid = indexrelid
      where relnamespace in (select * from ours)
      union all
      select format('constraint %s %s', conname, pg_get_constraintdef(oid)) from pg_constraint where connamespace in (select * from ours)
      union all
      select 'trigger ' || pg_get_triggerdef(oid) from pg_trigger where not tgisinternal
      union all
      select format('policy %s %s %s', polname, polrelid::regclass, pg_get_expr(polqual, polrelid)) from pg_policy
      union all
      select format('view %s %s', oid::regclass, pg_get_viewdef(oid)) from pg_class where relkind = 'v' and relnamespace in (select * from ours)
      union all
      select format('type %s %s', t.oid::regtype, e.enumlabel) from pg_type t join pg_enum e on e.enumtypid = t.oid
      union all
      select 'lane ' || l::text from background_queue.lanes l
    ) items order by item collate "C"`)
  return rows.map((row) => row.item)
}

test('installs into an empty database as its ordinary owner', async () => {
  const [me] = await owner.query('select rolsuper from pg_roles where rolname = current_user')
  expect(me).toEqual({ rolsuper: false })
  expect(await install(owner)).toEqual({ schema: 'public', from: null, to: VERSION, applied: ALL })
  expect(await requireInstalled(owner)).toBe('public')
  await owner.query(`select pg_background_enqueue('select 1')`)
})

test('changes nothing when it is repeated', async () => {
  await install(owner)
  const before = await catalog(owner)
  expect(await install(owner)).toEqual({ schema: 'public', from: VERSION, to: VERSION, applied: [] })
  expect(await catalog(owner)).toEqual(before)
})

test('keeps tasks, settings and rights when it is repeated', async () => {
  await install(owner, { grantEnqueue: [ALICE] })
  await owner.query(
    `select pg_background_enqueue('select 1'), background_queue.set_parameter('/a', 'paused', 'true')`,
  )
  const before = await catalog(owner)
  await install(owner)
  expect(await catalog(owner)).toEqual(before)
  expect(await owner.query('select sql_statement from pg_background_tasks')).toEqual([
    { sql_statement: 'select 1' },
  ])
  const alice = await open(ALICE)
  await alice.query(`select pg_background_enqueue('select 2')`)
})

test('grants and revokes', async () => {
  await install(owner, { grantEnqueue: [ALICE, BOB] })
  await install(owner, { revokeEnqueue: [BOB] })
  const may = await owner.one(
    `select has_column_privilege('${ALICE}', 'background_queue.inbox', 'sql_statement', 'INSERT') as alice,
      has_column_privilege('${BOB}', 'background_queue.inbox', 'sql_statement', 'INSERT') as bob`,
  )
  expect(may).toEqual({ alice: true, bob: false })
  await expect(install(owner, { grantEnqueue: ['nobody here'] })).rejects.toMatchObject({
    code: 'UNKNOWN_ROLE',
  })
})

test('lets installs that come at once follow one another', async () => {
  const others = [owner]
  for (let i = 0; i < 4; i++) others.push(await open(OWNER))
  const reports = await Promise.all(others.map((session) => install(session)))
  expect(reports.filter((report) => report.from === null)).toHaveLength(1)
  expect(reports.filter((report) => report.from === VERSION)).toHaveLength(4)
})

test('leaves nothing behind after a dry run, and reports the same', async () => {
  expect(await install(owner, { isDryRun: true })).toEqual({
    schema: 'public',
    from: null,
    to: VERSION,
    applied: ALL,
  })
  expect(await installedVersion(owner)).toBeUndefined()
  expect(await owner.query(`select from pg_namespace where nspname = 'background_queue'`)).toEqual([])
  expect(await owner.query(`select from pg_class where relnamespace = 'public'::regnamespace`)).toEqual([])
})

test('leaves nothing behind when it fails half-way', async () => {
  await owner.query('create table pg_background_tasks (id integer)')
  await expect(install(owner)).rejects.toMatchObject({ code: '42P07' })
  expect(await owner.query(`select from pg_namespace where nspname = 'background_queue'`)).toEqual([])
})

/** The database as an earlier program left it: its migrations, and functions of which none is left to trust. */
async function installOlder(session: Database, version: number): Promise<void> {
  for (const migration of readMigrations().filter((m) => m.version <= version)) {
    await session.query(inSchema(migration.text, 'public'))
    if (migration.version === 1)
      await session.query(`create table background_queue.migrations
        (version integer primary key, name text not null, applied_at timestamptz not null default clock_timestamp())`)
    await session.query('insert into background_queue.migrations (version, name) values ($1, $2)', [
      migration.version,
      migration.name,
    ])
  }
  if (version >= 2) {
    await session.query(`insert into background_queue.queue (system_identifier, database_oid)
      select c.system_identifier, d.oid from pg_control_system() c, pg_database d where d.datname = current_database()`)
  }
}

test.each([1, 2])('brings version %i to what a fresh install gives, and keeps its tasks', async (version) => {
  await installOlder(owner, version)
  await owner.query(`insert into pg_background_tasks (sql_statement, lane) values ('select 1', '')`)
  expect(await install(owner)).toEqual({
    schema: 'public',
    from: version,
    to: VERSION,
    applied: ALL.slice(version),
  })
  const upgraded = await catalog(owner)
  expect(await owner.query('select state from pg_background_tasks')).toEqual([{ state: 'pending' }])
  await owner.close()
  await db.admin.query(`drop database ${name} with (force)`)
  await db.admin.query(`create database ${name} owner ${OWNER}`)
  owner = await open(OWNER)
  await install(owner)
  expect(upgraded).toEqual(await catalog(owner))
})

test('leaves no function as an older version had it, also one that cannot be replaced in place', async () => {
  await install(owner)
  const fresh = await catalog(owner)
  await owner.query(`create function background_queue.leftover() returns integer language sql as 'select 1';
    drop function background_queue.load();
    create function background_queue.load(out something text) language sql as 'select null::text';
    create or replace function background_queue.waiting_roles() returns oid[] language sql as 'select null::oid[]'`)
  await install(owner)
  expect(await catalog(owner)).toEqual(fresh)
})

test.each(['', '; grant execute on function background_queue.stray() to pgbq_alice'])(
  'drops a function that is not of the queue at the first install, whoever may call it%s',
  async (grant) => {
    await install(owner)
    const fresh = await catalog(owner)
    await owner.query(
      `create function background_queue.stray() returns integer language sql as 'select 1'${grant}`,
    )
    await install(owner)
    expect(await catalog(owner)).toEqual(fresh)
  },
)

test('refuses a schema that is newer than this program', async () => {
  await install(owner)
  await owner.query(`insert into background_queue.migrations (version, name) values (99, '0099_later')`)
  const before = await catalog(owner)
  await expect(install(owner)).rejects.toMatchObject({
    code: 'NEWER_SCHEMA',
    message: `The queue has schema version 99, this program knows ${VERSION}`,
  })
  await expect(requireInstalled(owner)).rejects.toMatchObject({ code: 'NEWER_SCHEMA' })
  expect(await catalog(owner)).toEqual(before)
})

test('installs into the schema that is asked for, and refuses another afterwards', async () => {
  await owner.query('create schema jobs')
  expect(await install(owner, { schema: 'jobs' })).toMatchObject({ schema: 'jobs', from: null })
  await owner.query(`select jobs.pg_background_enqueue('select 1')`)
  await expect(install(owner, { schema: 'public' })).rejects.toMatchObject({
    code: 'OTHER_SCHEMA',
    message: 'The queue is already installed in schema "jobs" of this database',
  })
  expect(await install(owner)).toMatchObject({ schema: 'jobs', from: VERSION })
})

test('refuses a role that may not create in the database', async () => {
  const mallory = await open(MALLORY)
  await expect(install(mallory)).rejects.toMatchObject({ code: 'NOT_ALLOWED' })
})

test('says what is missing where nothing or an older version is installed', async () => {
  await expect(requireInstalled(owner)).rejects.toMatchObject({ code: 'NOT_INSTALLED' })
  await install(owner)
  await owner.query(
    'delete from background_queue.migrations where version = (select max(version) from background_queue.migrations)',
  )
  await expect(requireInstalled(owner)).rejects.toMatchObject({ code: 'OLDER_SCHEMA' })
})

test('does not take over a function that another role planted', async () => {
  const admin = await open()
  await admin.query(`grant create on schema public to ${MALLORY}`)
  const mallory = await open(MALLORY)
  await mallory.query(`create function public.pg_background_enqueue(sql text, topic text default null) returns bigint
    language plpgsql as $$ begin return 1; end $$`)
  await expect(install(admin)).rejects.toMatchObject({
    code: 'NOT_ALLOWED',
    message: expect.stringMatching(`pg_background_enqueue\\(text,text\\) belongs to "${MALLORY}"`),
  })
  expect(await installedVersion(admin)).toBeUndefined()
  await expect(install(owner)).rejects.toMatchObject({ code: 'NOT_ALLOWED' })
  await admin.query(`drop owned by ${MALLORY}`)
})

test('leaves everything the owner’s when a superuser upgrades the queue', async () => {
  await installOlder(owner, 1)
  await install(await open())
  expect((await installedVersion(owner))?.version).toBe(VERSION)
  const strangers = await owner.query(
    `select c.oid::regclass::text as name from pg_class c where c.relnamespace = 'background_queue'::regnamespace
       and c.relkind in ('r', 'v') and pg_get_userbyid(c.relowner) <> $1
     union all select p.oid::regprocedure::text from pg_proc p where p.pronamespace = 'background_queue'::regnamespace
       and pg_get_userbyid(p.proowner) <> $1`,
    [OWNER],
  )
  expect(strangers).toEqual([])
})

test.each([
  [{ server_version: 120022 }, 'SERVER_TOO_OLD', 'The server is older than PostgreSQL 13'],
  [{ in_recovery: true }, 'READ_ONLY', 'The server of database "app" is a read-only standby'],
  [{ extension: '1.0' }, 'EXTENSION_PRESENT', 'The C extension pg_background_queue 1.0 is in database "app"'],
])('refuses a server that answers %j, before it changes anything', async (answer, code, message) => {
  const found = {
    extension: null,
    installed: false,
    database: 'app',
    server_version: 180000,
    in_recovery: false,
  }
  // whatever else it asked would fail: the stub has no other method
  const server = { one: async () => ({ ...found, ...answer }) } as unknown as Database
  await expect(install(server)).rejects.toMatchObject({ code, message, hint: expect.any(String) })
})
