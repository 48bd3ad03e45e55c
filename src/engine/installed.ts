import type { Database } from './database/database.js'
import { notInstalled } from './database/errors.js'
import { describeTarget } from './database/target.js'
import { QueueError } from './errors.js'
import type { Installation } from './install-refusals.js'
import { findQueue } from './queue-place.js'
import { namedQuery, schemaVersion } from './sql-files.js'

/** NEWER_SCHEMA: the queue is a newer program's. */
export class NewerSchemaError extends QueueError {
  readonly found: number

  constructor(found: number, known: number) {
    super('NEWER_SCHEMA', `The queue has schema version ${found}, this program knows ${known}`, {
      hint: 'npm install --global pg-background-queue@latest',
    })
    this.found = found
  }
}

/** Version and schema of the queue in this database, undefined if it is not there. */
export async function installedVersion(
  database: Database,
): Promise<{ version: number; schema: string } | undefined> {
  const { installed } = await database.one<Installation>(namedQuery('installation'))
  if (!installed) return undefined
  const row = await database.one<{ version: number; schema: string }>(
    `select (select max(version) from background_queue.migrations) as version, n.nspname as schema
     from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where c.relname = 'pg_background_tasks' and c.relkind = 'r'
       and c.relowner = (select relowner from pg_class where oid = 'background_queue.migrations'::regclass)`,
  )
  return row
}

/** The schema of an installed queue of this version. Errors: NOT_INSTALLED, OLDER_SCHEMA, NEWER_SCHEMA. */
export async function requireInstalled(database: Database): Promise<string> {
  const found = await findQueue(database)
  if (found === undefined) throw notInstalled(describeTarget(database.target))
  const known = schemaVersion()
  if (found.version < known) {
    throw new QueueError(
      'OLDER_SCHEMA',
      `The queue has schema version ${found.version}, this program needs ${known}`,
      {
        hint: 'pgbq install',
      },
    )
  }
  if (found.version > known) throw new NewerSchemaError(found.version, known)
  return found.schema
}
