import type { Database } from './database/database.js'
import { QueueError } from './errors.js'
import { detachExtension, type FromExtensionOptions } from './from-extension/detach.js'
import { type Moved, moveTasks } from './from-extension/move.js'
import { keepOthersOut, LOCK_TIMEOUT_MS, patiently } from './install-locks.js'
import { explain, type Installation, queuePresent, refuseServer } from './install-refusals.js'
import { installedVersion, NewerSchemaError } from './installed.js'
import { replaceFunctions } from './replace-functions.js'
import { inSchema, type Migration, namedQuery, readMigrations } from './sql-files.js'

export interface InstallOptions {
  /** default: where the queue stands, or public */
  schema?: string | undefined
  isDryRun?: boolean
  grantEnqueue?: string[]
  revokeEnqueue?: string[]
  /** takes over from the C extension, which has to be there */
  fromExtension?: FromExtensionOptions | undefined
  /** default 20 s */
  patienceMs?: number
  /** for tests of upgrades: stop at this version */
  toVersion?: number
}

/** What an install did: versions as integers, `from` null when the queue was not there, names of migrations. */
export interface InstallReport {
  schema: string
  from: number | null
  to: number
  applied: string[]
  /** what was taken over from the C extension */
  moved?: Moved
}

/**
 * Brings the queue in this database to this version, in one transaction that waits for any other install.
 * Errors: EXTENSION_PRESENT, NEWER_SCHEMA, OTHER_SCHEMA, SERVER_TOO_OLD, READ_ONLY, NOT_ALLOWED.
 */
export async function install(database: Database, options: InstallOptions = {}): Promise<InstallReport> {
  refuseServer(
    await database.one<Installation>(namedQuery('installation')),
    options.fromExtension !== undefined,
  )
  try {
    return await patiently(() => attempt(database, options), options.patienceMs)
  } catch (error) {
    throw explain(error, database, options.fromExtension?.owner)
  }
}

async function attempt(database: Database, options: InstallOptions): Promise<InstallReport> {
  await database.query('begin isolation level read committed read write')
  try {
    // one install at a time; readers of the queue, and whoever takes this lock, may make us wait, but not for ever
    await database.query(`set local lock_timeout = ${LOCK_TIMEOUT_MS}`)
    await database.query(`select pg_advisory_xact_lock(hashtext('background_queue.install'))`)
    await database.query(`set local search_path = pg_catalog`)
    await database.query(`set local check_function_bodies = off`)
    const report = await migrate(database, options)
    await database.query(options.isDryRun ? 'rollback' : 'commit')
    return report
  } catch (error) {
    if (!database.lost) await database.query('rollback').catch(() => undefined)
    throw error
  }
}

async function migrate(database: Database, options: InstallOptions): Promise<InstallReport> {
  const before = await installedVersion(database)
  if (before && options.fromExtension) throw queuePresent(before.schema)
  const moving = options.fromExtension && (await detachExtension(database, options.fromExtension))
  const schema = chooseSchema(before?.schema, options.schema ?? moving?.schema)
  const migrations = readMigrations().filter(
    (m) => m.version <= (options.toVersion ?? Number.POSITIVE_INFINITY),
  )
  const to = migrations.at(-1)!.version
  if (before && before.version > to) throw new NewerSchemaError(before.version, to)
  const missing = migrations.filter((m) => m.version > (before?.version ?? 0))
  await (before ? becomeOwner(database) : createSchema(database, schema))
  if (before) await keepOthersOut(database, schema)
  for (const migration of missing) await apply(database, migration, schema)
  await replaceFunctions(database, schema)
  await recordIdentity(database)
  await database.query('select background_queue.sync_lanes()')
  await changeRights(database, options)
  await database.query(`select pg_notify('background_queue', 'installed')`)
  const moved = moving && (await moveTasks(database, moving, schema))
  return {
    schema,
    from: before?.version ?? null,
    to,
    applied: missing.map((m) => m.name),
    ...(moved && { moved }),
  }
}

async function apply(database: Database, migration: Migration, schema: string): Promise<void> {
  await database.query(inSchema(migration.text, schema))
  if (migration.version === 1) {
    await database.query(`create table background_queue.migrations
      (version integer primary key, name text not null, applied_at timestamptz not null default clock_timestamp())`)
  }
  await database.query('insert into background_queue.migrations (version, name) values ($1, $2)', [
    migration.version,
    migration.name,
  ])
}

async function recordIdentity(database: Database): Promise<void> {
  await database.query(`insert into background_queue.queue (system_identifier, database_oid)
    select c.system_identifier, d.oid from pg_control_system() c, pg_database d
    where d.datname = current_database() and not exists (select from background_queue.queue)`)
}

/** An upgrade by a superuser, or another member of the owner, leaves everything the owner's. */
async function becomeOwner(database: Database): Promise<void> {
  await database.query(`select set_config('role', pg_get_userbyid(c.relowner), true) from pg_class c
    where c.oid = 'background_queue.migrations'::regclass and pg_get_userbyid(c.relowner) <> current_user`)
}

async function createSchema(database: Database, schema: string): Promise<void> {
  const [known] = await database.query('select from pg_namespace where nspname = $1', [schema])
  if (!known) await database.query(inSchema('create schema :"schema"', schema))
}

async function changeRights(database: Database, options: InstallOptions): Promise<void> {
  for (const role of options.revokeEnqueue ?? []) {
    await requireRole(database, role)
    await database.query('select background_queue.revoke_enqueue($1)', [role])
  }
  for (const role of options.grantEnqueue ?? []) {
    await requireRole(database, role)
    await database.query('select background_queue.grant_enqueue($1)', [role])
  }
}

async function requireRole(database: Database, role: string): Promise<void> {
  const [known] = await database.query('select from pg_roles where rolname = $1', [role])
  if (known) return
  throw new QueueError('UNKNOWN_ROLE', `No role is named "${role}"`, {
    hint: `psql -c 'CREATE ROLE "${role.replaceAll('"', '""')}" LOGIN'`,
  })
}

function chooseSchema(installed: string | undefined, wanted: string | undefined): string {
  if (installed !== undefined && wanted !== undefined && wanted !== installed) {
    throw new QueueError(
      'OTHER_SCHEMA',
      `The queue is already installed in schema "${installed}" of this database`,
      {
        hint: `pgbq install --schema ${installed}`,
      },
    )
  }
  return installed ?? wanted ?? 'public'
}
