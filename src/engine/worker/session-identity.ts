import type { Database, Row } from '../database/database.js'
import type { Oids } from './calls.js'
import type { Backend } from './ipc.js'

/** What a session begins with; isPlain: our own statements may run in it as it is. */
export interface Defaults extends Row, Oids {
  pid: number
  user: string
  isPlain: boolean
}

const oidOf = (name: string): string =>
  `(select p.oid from pg_proc p join pg_namespace n on n.oid = p.pronamespace
    where n.nspname = 'background_queue' and p.proname = '${name}')`

export const readDefaults = (database: Database): Promise<Defaults> =>
  ask<Defaults>(
    database,
    `select pg_backend_pid() as pid, session_user::text as user,
      current_setting('default_transaction_isolation') = 'read committed'
      and current_setting('default_transaction_read_only') = 'off' and current_setting('statement_timeout') = '0'
      and current_setting('lock_timeout') = '0' and current_user = session_user as "isPlain",
      ${oidOf('claim')} as "claimOid", ${oidOf('finish_and_claim')} as "finishOid"`,
  )

/** What others need to see this session's end; instants as every DateStyle and time zone reads them. */
export async function readBackend(database: Database): Promise<Backend> {
  const row = await ask<Omit<Backend, 'processId' | 'secretKey'>>(
    database,
    `select pid, to_char(backend_start at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as "startedAt",
      to_char(pg_postmaster_start_time() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as "serverStartedAt"
     from pg_catalog.pg_stat_activity where pid = pg_backend_pid()`,
  )
  return { ...row, ...database.backendKey }
}

/**
 * What the session says of itself. Its role may have given itself a search_path, and with functions of its own there
 * name another's backend as its own, for the supervisor to end.
 */
async function ask<T extends Row>(database: Database, text: string): Promise<T> {
  const [, , rows] = await database.together(() => [
    database.query('begin'),
    database.query('set local search_path = pg_catalog, pg_temp'),
    database.query<T>(text),
    database.query('commit'),
  ])
  return (rows as T[])[0]!
}
