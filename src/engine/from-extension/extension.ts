import type { Database, Row } from '../database/database.js'
import { QueueError, usageError } from '../errors.js'
import { namedQuery } from '../sql-files.js'

export const EXTENSION = 'pg_background_queue'
/** the schema in which table and type wait while the queue is made */
export const WAITING_ROOM = 'background_queue_moving'
const COLUMNS = [
  ...['id', 'sql_statement', 'topic', 'joined_at', 'started_at', 'closed_at', 'priority', 'state'],
  ...['retry_count', 'retry_delay_in_sec', 'errors'],
]
/** https://www.postgresql.org/docs/current/errcodes-appendix.html: dependent_objects_still_exist */
const HAS_DEPENDENTS = '2BP01'

/** The C extension as it stands in this database. */
export interface Extension extends Row {
  version: string
  schema: string
  owner: string
  current: string
  is_super: boolean
  table: string | null
  type: string | null
  sequences: string[]
  columns: string[]
  /** of others, then those that call a function of the extension */
  triggers: string[]
  own_triggers: string[]
}

/** Errors: NO_EXTENSION, UNKNOWN_LAYOUT. */
export async function readExtension(database: Database): Promise<Extension> {
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
    hint: 'drop what was added to it, and keep a copy of what is needed',
  })
}

/** Errors: OWNER_NEEDED for a superuser, who would run what anybody has enqueued. */
export function chooseOwner({ current, is_super, owner }: Extension, wanted: string | undefined): string {
  if (wanted !== undefined || !is_super) return wanted ?? current
  throw usageError(
    'OWNER_NEEDED',
    `The extension did not record who enqueued a task, and "${current}", a superuser, would run what any role has enqueued`,
    `pgbq install --from-extension --owner ROLE, the role that shall own the queue and run these tasks${owner === current ? '' : `, such as ${owner}`}`,
  )
}

/** A try that is rolled back: what else hangs on the extension is told by the server, under its real names. */
export async function refuseDependents(database: Database, extension: Extension): Promise<void> {
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

/** Table, type and sequence stay when the extension goes, its triggers do not. */
export async function detach(database: Database, extension: Extension): Promise<void> {
  const { table, type, sequences, own_triggers } = extension
  for (const name of own_triggers) await database.query(`drop trigger ${name} on ${table}`)
  const members = [`table ${table}`, `type ${type}`, ...sequences.map((name) => `sequence ${name}`)]
  for (const member of members) await database.query(`alter extension ${EXTENSION} drop ${member}`)
}

/** A worker of the extension may run a task, and would take more from a table of that name. Errors: EXTENSION_WORKING. */
export async function refuseWorkers(database: Database): Promise<void> {
  await database.query('select pg_stat_clear_snapshot()')
  const workers = await database.query<{ pid: number }>(namedQuery('extension_workers'))
  if (workers.length === 0) return
  throw new QueueError(
    'EXTENSION_WORKING',
    `A worker of the extension lives: backend ${workers.map(({ pid }) => pid).join(', ')}`,
    { hint: `wait for its end, or psql -c 'SELECT pg_terminate_backend(${workers[0]!.pid})'` },
  )
}
