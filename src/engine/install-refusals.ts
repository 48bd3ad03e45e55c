import type { Database, Row } from './database/database.js'
import { QueueError } from './errors.js'

/** What stands in a database: the named query "installation". */
export interface Installation extends Row {
  extension: string | null
  installed: boolean
  database: string
  role: string
  server_version: number
  in_recovery: boolean
}

/** Errors: SERVER_TOO_OLD, READ_ONLY, EXTENSION_PRESENT. */
export function refuseServer(installation: Installation, isMoving: boolean): void {
  if (installation.server_version < 130000) {
    throw new QueueError('SERVER_TOO_OLD', 'The server is older than PostgreSQL 13', {
      hint: 'upgrade the server',
    })
  }
  if (installation.in_recovery) {
    throw new QueueError(
      'READ_ONLY',
      `The server of database "${installation.database}" is a read-only standby`,
      {
        hint: 'connect to the primary server',
      },
    )
  }
  if (installation.extension !== null && !isMoving) {
    throw new QueueError(
      'EXTENSION_PRESENT',
      `The C extension pg_background_queue ${installation.extension} is in database "${installation.database}"`,
      { hint: 'pgbq install --from-extension, which takes its tasks over' },
    )
  }
}

/** The extension beside a queue of ours: its rows would collide. */
export function queuePresent(schema: string): QueueError {
  return new QueueError(
    'QUEUE_PRESENT',
    `The queue is already in schema "${schema}" of this database, beside the C extension`,
    { hint: 'pgbq uninstall, then pgbq install --from-extension' },
  )
}

/** What the server refused an install, in our words. */
export function explain(error: unknown, database: Database, owner?: string): unknown {
  const cause = (error as QueueError).code === 'NOT_ALLOWED' ? (error as QueueError).cause : error
  const { code, message } = cause as { code?: string; message: string }
  if (code === '42501') {
    return new QueueError(
      'NOT_ALLOWED',
      `The role "${owner ?? database.target.config.user}" may not install the queue: ${message}`,
      {
        cause: error,
        hint:
          owner === undefined
            ? 'install as the owner of the database'
            : '--owner with the owner of the database',
      },
    )
  }
  if (code === '55P03') {
    return new QueueError('LOCKED', 'Another session held a lock on the queue for 20 s', {
      cause: error,
      hint: 'end long transactions on the queue, then: pgbq install',
    })
  }
  return error
}
