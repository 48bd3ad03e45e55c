import type { Session } from './database/session.js'

/** Version and schema of the queue, as every role that may enqueue sees them. Errors: NOT_INSTALLED. */
export async function findQueue(session: Session): Promise<{ version: number; schema: string } | undefined> {
  const [found] = await session.query<{ version: number; schema: string }>(
    // the view gives the name as SQL would quote it
    `select i.version, n.nspname as schema from background_queue.installed i
     join pg_catalog.pg_namespace n on n.oid = pg_catalog.to_regnamespace(i.schema)`,
  )
  return found
}
