import { CONNECT_TIMEOUT_MS, Database, OWN_SEARCH_PATH } from '../database/database.js'
import { firstAnswer, isPooled, putInForce, refuseTransactionPooler } from '../database/pooler.js'
import type { ConnectionTarget } from '../database/target.js'
import { QueueError } from '../errors.js'
import { requireInstalled } from '../installed.js'
import { namedQuery } from '../sql-files.js'
import { Lifeline } from './lifeline.js'

/** Guards of the session, and nothing of what its role has for defaults that could end or refuse its transactions. */
export const SETTINGS = {
  tcp_keepalives_idle: '5',
  tcp_keepalives_interval: '2',
  tcp_keepalives_count: '3',
  default_transaction_isolation: 'read committed',
  default_transaction_read_only: 'off',
  statement_timeout: '0',
  lock_timeout: '0',
  // frozen in a transaction, we would hold its locks for ever
  idle_in_transaction_session_timeout: '10000',
  search_path: OWN_SEARCH_PATH,
}

const IDENTITY = `select current_user as role, a.pid, a.backend_start as "startedAt"
  from pg_catalog.pg_stat_activity a where a.pid = pg_catalog.pg_backend_pid()`

interface Identity extends Record<string, unknown> {
  role: string
  pid: number
  startedAt: string
}

/** A session of one who may supervise the queue there. */
export interface Admitted {
  database: Database
  lifeline: Lifeline
  /** of the queue */
  schema: string
  role: string
}

export interface AdmissionOptions {
  /** a pooler in front of the server is still to be judged; later, no connection to spare may be left */
  isFirst?: boolean
  /** for each host; the target may have a shorter time */
  connectTimeoutMs?: number
}

/**
 * Errors: those of Database.connect, refuseTransactionPooler and putInForce, NOT_INSTALLED, OLDER_SCHEMA,
 * NEWER_SCHEMA, NOT_OWNER, OTHER_DATABASE.
 */
export async function admit(
  target: ConnectionTarget,
  { isFirst = false, connectTimeoutMs = CONNECT_TIMEOUT_MS }: AdmissionOptions,
): Promise<Admitted> {
  const database = await Database.connect(target, {
    applicationName: 'pg_background_queue supervisor',
    settings: SETTINGS,
    connectTimeoutMs: Math.min(connectTimeoutMs, target.connectTimeoutMs ?? CONNECT_TIMEOUT_MS),
  })
  try {
    const [identity] = await firstAnswer<Identity>(database, IDENTITY)
    const { role, ...backend } = identity!
    const lifeline = new Lifeline(database, backend)
    const schema = await lifeline.hold(async () => {
      if (isFirst) await refuseTransactionPooler(database)
      await putInForce(database, SETTINGS)
      const found = await requireInstalled(database)
      await refuseStrangers(database, role)
      await refuseClones(database)
      return found
    })
    if (isPooled({ ...backend, ...database.backendKey })) database.holdBackend()
    return { database, lifeline, schema, role }
  } catch (error) {
    await database.close()
    throw error
  }
}

/** Who supervises sees and ends everybody's tasks. Errors: NOT_OWNER. */
async function refuseStrangers(database: Database, role: string): Promise<void> {
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
async function refuseClones(database: Database): Promise<void> {
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
