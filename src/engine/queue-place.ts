import type { Session } from './database/session.js'

/** Version and schema of the queue, as every role that may enqueue sees them. Errors: NOT_INSTALLED. */
export function findQueue(session: Session): Promise<{ version: number; schema: string }> {
  return session.one(
    // the view gives the name as SQL would quote it
    `select i.version, n.nspname as schema from background_queue.installed i
     join pg_catalog.pg_namespace n on n.oid = pg_catalog.to_regnamespace(i.schema)`,
  )
}
