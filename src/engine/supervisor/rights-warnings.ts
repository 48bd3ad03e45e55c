import type { Database } from '../database/database.js'
import { namedQuery } from '../sql-files.js'

/**
 * What is wrong with the rights of this queue, and of the role that supervises it; one line each, with the way out.
 * isPrivateServer: its one role is a superuser, and its one user the operator.
 */
export async function findRightsWarnings(database: Database, isPrivateServer: boolean): Promise<string[]> {
  const rows = await database.query<{ problem: string }>(namedQuery('rights_problems'))
  const problems = rows.map(({ problem }) => `Rights: ${problem}`)
  const superuser = isPrivateServer ? undefined : await findSuperuser(database)
  return superuser === undefined ? problems : [superuser, ...problems]
}

async function findSuperuser(database: Database): Promise<string | undefined> {
  const row = await database.one<{ role: string; owner: string; is_super: boolean; owner_is_super: boolean }>(
    namedQuery('supervisor_role'),
  )
  if (!row.is_super) return undefined
  return row.owner_is_super
    ? `The tasks of "${row.role}" run with a superuser's rights. Safer: let an ordinary role own the database, install the queue and run pgbq work`
    : `Logged in as the superuser "${row.role}", the queue can do more than it needs. Safer: run pgbq work as its owner "${row.owner}"`
}
