import type { Database } from '../database/database.js'
import { QueueError } from '../errors.js'
import { namedQuery } from '../sql-files.js'

/** Who supervises sees and ends everybody's tasks. Errors: NOT_OWNER. */
export async function refuseStrangers(database: Database, role: string): Promise<void> {
  const row = await database.one<{ owner: string; is_member: boolean }>(
    `select pg_get_userbyid(owner_oid) as owner, pg_has_role(current_user, owner_oid, 'usage') as is_member
     from background_queue.installed`,
  )
  if (row.is_member) return
  throw new QueueError(
    'NOT_OWNER',
    `The role "${role}" may not supervise the queue, which belongs to "${row.owner}"`,
    {
      hint: `run pgbq work as "${row.owner}", or as a role that was granted "${row.owner}"`,
    },
  )
}

/** A restored or cloned database must not run production's tasks. Errors: OTHER_DATABASE. */
export async function refuseClones(database: Database): Promise<void> {
  const row = await database.one<{ is_same: boolean } | Record<string, never>>(namedQuery('identity'))
  if (row?.is_same) return
  throw new QueueError(
    'OTHER_DATABASE',
    'The queue was installed in another database or server, of which this one is a copy',
    {
      hint: 'pgbq calibrate --adopt, if its tasks shall run here',
    },
  )
}
