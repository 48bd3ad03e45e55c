import { Database, type Row } from './database/database.js'
import { QueueError, usageError } from './errors.js'
import { type Parameter, readParameters } from './settings.js'
import { sqlName } from './shell-word.js'
import { inSchema, namedQuery } from './sql-files.js'

export interface FromExtensionOptions {
  /** what becomes of tasks in state running; no default, for nobody can know whether their SQL took effect */
  stuck?: 'pending' | 'failed' | undefined
  /** who is to own the queue, and to run what waits; default: the current role, if it is no superuser */
  owner?: string | undefined
  /** in which the extension's instants are meant; default: that of a session of this role */
  timeZone?: string | undefined
}

/** What was taken over. Counts are of tasks, by their states in the extension. */
export interface Moved {
  version: string
  tasks: Record<string, bigint>
  stuck: { count: bigint; became: 'pending' | 'failed' | null }
  owner: string
  time_zone: string
  /** of the server, in force as before */
  settings: Parameter[]
  /** roles that could enqueue, and cannot before they are granted it */
  lost_rights: string[]
  /** closed tasks that are older than retention_in_days: the first supervisor deletes them */
  prunable: { count: bigint; days: number | null }
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

interface Extension extends Row {
  version: string
  schema: string
  owner: string
  current: string
  is_super: boolean
  table: string | null
  type: string | null
  sequences: string[]
  columns: string[]
  triggers: string[]
}

const EXTENSION = 'pg_background_queue'
const WAITING_ROOM = 'background_queue_moving'
const COLUMNS = [
  ...['id', 'sql_statement', 'topic', 'joined_at', 'started_at', 'closed_at', 'priority', 'state'],
  ...['retry_count', 'retry_delay_in_sec', 'errors'],
]
const UNKNOWN_END =
  'Was running when the queue moved from the extension; whether its SQL took effect is not known'
/** https://www.postgresql.org/docs/current/errcodes-appendix.html: dependent_objects_still_exist */
const HAS_DEPENDENTS = '2BP01'

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

/** Fills the new queue with what waits. The role is then again the caller's. */
export async function moveTasks(database: Database, moving: Moving, schema: string): Promise<Moved> {
  const run = <T extends Row>(name: string, values: unknown[] = []) =>
    database.query<T>(inSchema(namedQuery(name), schema), values)
  await database.query(
    `select set_config('role', 'none', true), set_config('timezone', $1, true),
    set_config('background_queue.woken', pg_current_xact_id()::text, true)`,
    [moving.timeZone],
  )
  const counts = await run<{ state: string; count: bigint }>('moving_counts')
  await run('move_tasks', [moving.stuck ?? 'failed', moving.owner, UNKNOWN_END])
  await run('move_errors')
  await run('move_sequence', [moving.lastId, moving.isCalled])
  await database.query(`set local timezone = 'UTC'; drop table ${WAITING_ROOM}.pg_background_tasks;
    drop type ${moving.type}; drop schema ${WAITING_ROOM}`)
  const tasks = Object.fromEntries(counts.map(({ state, count }) => [state, count]))
  const [prunable] = await run<{ count: bigint; days: string | null }>('moved_prunable')
  const stuck = tasks.running ?? 0n
  return {
    version: moving.version,
    tasks,
    stuck: { count: stuck, became: stuck === 0n ? null : moving.stuck! },
    owner: moving.owner,
    time_zone: moving.timeZone,
    settings: (await readParameters(database)).filter(({ source }) => source !== 'default'),
    lost_rights: await withoutRight(database, moving.writers),
    prunable: { count: prunable!.count, days: prunable!.days === null ? null : Number(prunable!.days) },
  }
}

async function readExtension(database: Database): Promise<Extension> {
  const [extension] = await database.query<Extension>(namedQuery('extension'))
  if (extension === undefined) {
    throw new QueueError('NO_EXTENSION', `The C extension ${EXTENSION} is not in this database`, {
      hint: 'pgbq install',
    })
  }
  const { columns, table, type, triggers } = extension
  const odd = [
    ...(table === null || type === null ? ['its table or its type is missing'] : []),
    ...(table === null ? [] : COLUMNS.filter((c) => !columns.includes(c)).map((c) => `no column "${c}"`)),
    ...columns.filter((c) => !COLUMNS.includes(c)).map((c) => `column "${c}" has no place in the queue`),
    ...triggers.map((name) => `trigger "${name}" would be lost`),
  ]
  if (odd.length === 0) return extension
  throw new QueueError('UNKNOWN_LAYOUT', `The extension's table is not as documented: ${odd.join(', ')}`, {
    hint: 'drop what was added to it',
  })
}

function chooseOwner({ current, is_super, owner }: Extension, wanted: string | undefined): string {
  if (wanted !== undefined || !is_super) return wanted ?? current
  throw usageError(
    'OWNER_NEEDED',
    `The extension did not record who enqueued a task, and "${current}", a superuser, would run what any role has enqueued`,
    `pgbq install --from-extension --owner ROLE, the role that shall own the queue and run these tasks${owner === current ? '' : `, such as ${owner}`}`,
  )
}

async function requireRole(database: Database, role: string): Promise<void> {
  const [known] = await database.query('select from pg_roles where rolname = $1', [role])
  if (!known) throw new QueueError('UNKNOWN_ROLE', `No role is named "${role}"`)
}

/** A try that is rolled back: what else hangs on the extension is told by the server, under its real names. */
async function refuseDependents(database: Database, extension: Extension): Promise<void> {
  await database.query('savepoint dependents')
  try {
    await detach(database, extension)
    await database.query(
      `drop extension ${EXTENSION}; drop table ${extension.table}; drop type ${extension.type}`,
    )
  } catch (error) {
    const { code, detail } = error as { code?: string; detail?: string }
    if (code !== HAS_DEPENDENTS) throw error
    throw new QueueError(
      'DEPENDENTS',
      `Others have built upon the extension: ${detail?.replaceAll('\n', ', ')}`,
      {
        cause: error,
        hint: 'drop them, move, and make them again upon the new table',
      },
    )
  }
  await database.query('rollback to savepoint dependents')
}

async function detach(database: Database, { table, type, sequences }: Extension): Promise<void> {
  const members = [`table ${table}`, `type ${type}`, ...sequences.map((name) => `sequence ${name}`)]
  for (const member of members) await database.query(`alter extension ${EXTENSION} drop ${member}`)
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
  if (running === 0n) return
  const workers = await database.query<{ pid: number }>(namedQuery('extension_workers'))
  const tasks = running === 1n ? '1 task is' : `${running} tasks are`
  if (workers.length > 0) {
    throw new QueueError(
      'EXTENSION_WORKING',
      `${tasks} in state running, and backend ${workers.map(({ pid }) => pid).join(', ')} of the extension lives`,
      { hint: `wait for its end, or psql -c 'SELECT pg_terminate_backend(${workers[0]!.pid})'` },
    )
  }
  if (stuck !== undefined) return
  throw usageError(
    'STUCK_TASKS',
    `${tasks} in state running without a worker; whether their SQL took effect is not known`,
    'pgbq install --from-extension --stuck pending, to run them again, or --stuck failed',
  )
}

async function withoutRight(database: Database, roles: string[]): Promise<string[]> {
  const rows = await database.query<{ role: string }>('select r as role from background_queue.enqueuers() r')
  const granted = rows.map(({ role }) => role)
  return roles.filter((role) => !granted.includes(role))
}

/** The grants that give the roles back what they could. */
export function grantFlags(roles: string[]): string {
  return roles.map((role) => `--grant-enqueue ${sqlName(role)}`).join(' ')
}
