import { Database } from '../database/database.js'
import { QueueError, usageError } from '../errors.js'
import { namedQuery } from '../sql-files.js'
import {
  chooseOwner,
  detach,
  EXTENSION,
  readExtension,
  refuseDependents,
  refuseWorkers,
  WAITING_ROOM,
} from './extension.js'

export interface FromExtensionOptions {
  /** what becomes of tasks in state running; no default, for nobody can know whether their SQL took effect */
  stuck?: 'pending' | 'failed' | undefined
  /** who is to own the queue, and to run what waits; default: the current role, if it is no superuser */
  owner?: string | undefined
  /** in which the extension's instants are meant; default: that of a session of this role */
  timeZone?: string | undefined
}

/** The extension is gone; its rows wait in a schema of their own for the queue's table. */
export interface Moving {
  version: string
  schema: string
  owner: string
  timeZone: string
  lastId: bigint
  isCalled: boolean
  type: string
  writers: string[]
  stuck: 'pending' | 'failed' | undefined
}

/**
 * Takes table and type out of the extension, and drops it, in the caller's transaction; the role is then the owner.
 * Errors: NO_EXTENSION, OWNER_NEEDED, STUCK_TASKS, EXTENSION_WORKING, UNKNOWN_LAYOUT, DEPENDENTS, INVALID_TASK.
 */
export async function detachExtension(database: Database, options: FromExtensionOptions): Promise<Moving> {
  const extension = await readExtension(database)
  const owner = chooseOwner(extension, options.owner)
  await requireRole(database, owner)
  const table = extension.table!
  await database.query(`lock table ${table} in access exclusive mode`)
  await refuseWorkers(database)
  await refuseDependents(database, extension)
  const writers = await database.query<{ role: string }>(namedQuery('extension_enqueuers'), [table, owner])
  const timeZone = await chooseTimeZone(database, options.timeZone)
  const [sequence] = await database.query<{ last_value: bigint; is_called: boolean }>(
    extension.sequences[0] === undefined
      ? `select 0::bigint as last_value, false as is_called`
      : `select last_value, is_called from ${extension.sequences[0]}`,
  )
  await database.query(`create schema ${WAITING_ROOM}`)
  await detach(database, extension)
  await database.query(`alter table ${table} set schema ${WAITING_ROOM};
    alter type ${extension.type} set schema ${WAITING_ROOM};
    drop extension ${EXTENSION}`)
  await refuseRows(database, options.stuck)
  await database.query(`select set_config('role', $1, true)`, [owner])
  return {
    version: extension.version,
    schema: extension.schema,
    owner,
    timeZone,
    lastId: sequence!.last_value,
    isCalled: sequence!.is_called,
    type: `${WAITING_ROOM}.${extension.type!.split('.').at(-1)}`,
    writers: writers.map(({ role }) => role),
    stuck: options.stuck,
  }
}

async function requireRole(database: Database, role: string): Promise<void> {
  const [known] = await database.query('select from pg_roles where rolname = $1', [role])
  if (!known) throw new QueueError('UNKNOWN_ROLE', `No role is named "${role}"`)
}

async function chooseTimeZone(database: Database, wanted: string | undefined): Promise<string> {
  if (wanted !== undefined) {
    const [known] = await database.query('select from pg_timezone_names where lower(name) = lower($1)', [
      wanted,
    ])
    if (known) return wanted
    throw usageError(
      'INVALID_VALUE',
      `Expected --time-zone to name a time zone of the server, got "${wanted}"`,
    )
  }
  const plain = await Database.connect(database.target, { applicationName: 'pgbq', keepsDefaults: true })
  try {
    return (await plain.one<{ zone: string }>(`select current_setting('timezone') as zone`)).zone
  } finally {
    await plain.close()
  }
}

async function refuseRows(database: Database, stuck: string | undefined): Promise<void> {
  const [bad] = await database.query<{ id: bigint; problem: string }>(namedQuery('moving_obstacles'))
  if (bad) {
    throw new QueueError('INVALID_TASK', `Task ${bad.id} of the extension ${bad.problem}`, {
      hint: 'mend or delete such rows',
    })
  }
  const counts = await database.query<{ state: string; count: bigint }>(namedQuery('moving_counts'))
  const running = counts.find(({ state }) => state === 'running')?.count ?? 0n
  if (running === 0n || stuck !== undefined) return
  const tasks = running === 1n ? '1 task is' : `${running} tasks are`
  throw usageError(
    'STUCK_TASKS',
    `${tasks} in state running without a worker; whether their SQL took effect is not known`,
    'pgbq install --from-extension --stuck pending, to run them again, or --stuck failed',
  )
}
