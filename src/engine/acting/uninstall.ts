import type { Database, Row } from '../database/database.js'
import { QueueError } from '../errors.js'
import { inSchema, namedQuery, readSql } from '../sql-files.js'
import { readStatus, type StateCounts } from '../status.js'

const LOCK_TIMEOUT_MS = 20_000
const GONE_WITHIN_MS = 5000

/** What an uninstall takes away, and who would still want it. */
export interface UninstallPlan {
  states: StateCounts
  /** stored parameters */
  settings: bigint
  /** roles that may enqueue */
  enqueuers: string[]
  sessions: Session[]
}

interface Session extends Row {
  kind: 'supervisor' | 'worker'
  host: string
  pid: number
  backend_pid: number
}

export async function planUninstall(database: Database, schema: string): Promise<UninstallPlan> {
  const { states } = await readStatus(database, schema)
  const { settings, enqueuers } = await database.one<{ settings: bigint; enqueuers: string[] }>(
    `select (select count(*) from background_queue.settings) as settings,
       array(select e::text from background_queue.enqueuers() e order by 1) as enqueuers`,
  )
  return { states, settings, enqueuers, sessions: await liveSessions(database) }
}

const liveSessions = (database: Database): Promise<Session[]> =>
  database.query<Session>(namedQuery('live_sessions'))

/**
 * Drops the queue and all its tasks, in one transaction. isForced: ends the sessions of supervisors and workers;
 * what their tasks have not committed is rolled back. Errors: WORKERS_LIVE, DEPENDENTS, LOCKED, NOT_ALLOWED.
 */
export async function uninstall(database: Database, schema: string, isForced: boolean): Promise<void> {
  await refuseDependents(database)
  await database.query('begin isolation level read committed read write')
  try {
    await database.query(`set local lock_timeout = ${LOCK_TIMEOUT_MS}`)
    await database.query(`select pg_advisory_xact_lock(hashtext('background_queue.install'))`)
    // nobody registers behind our back from here on
    await database.query(
      'lock table background_queue.supervisors, background_queue.workers in access exclusive mode',
    )
    await (isForced ? endSessions(database) : refuseWorkers(database))
    await database.query(inSchema(readSql('uninstall.sql'), schema))
    await database.query('commit')
  } catch (error) {
    if (!database.lost) await database.query('rollback').catch(() => undefined)
    throw explain(error)
  }
}

async function refuseWorkers(database: Database): Promise<void> {
  const sessions = await liveSessions(database)
  if (sessions.length === 0) return
  const [first] = sessions
  throw new QueueError(
    'WORKERS_LIVE',
    `${sessions.length} supervisors and workers live, such as the ${first!.kind} with pid ${first!.pid} on ${first!.host}`,
    { hint: 'stop pgbq work on every host, or: pgbq uninstall --force, which ends what runs' },
  )
}

async function refuseDependents(database: Database): Promise<void> {
  const rows = await database.query<{ object: string }>(namedQuery('dependents'))
  if (rows.length > 0) throw dependents(rows.map((row) => row.object).join(', '))
}

async function endSessions(database: Database): Promise<void> {
  const giveUpAt = performance.now() + GONE_WITHIN_MS
  for (
    let sessions = await liveSessions(database);
    sessions.length > 0;
    sessions = await liveSessions(database)
  ) {
    for (const { backend_pid } of sessions)
      await database.query('select background_queue.try_terminate($1)', [backend_pid])
    if (performance.now() > giveUpAt) return
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

const dependents = (objects: string, cause?: unknown): QueueError =>
  new QueueError('DEPENDENTS', `Other objects are built upon the queue: ${objects}`, {
    hint: 'drop them first, then: pgbq uninstall',
    cause,
  })

function explain(error: unknown): unknown {
  const { code, detail, message } = error as { code?: string; detail?: string; message: string }
  if (code === '2BP01') return dependents(detail ?? message, error)
  if (code === '42501') {
    return new QueueError('NOT_ALLOWED', `The role may not uninstall the queue: ${message}`, {
      hint: "log in as the queue's owner",
      cause: error,
    })
  }
  if (code === '55P03') {
    return new QueueError('LOCKED', 'Another session held a lock on the queue for 20 s', {
      hint: 'end long transactions on the queue, then: pgbq uninstall',
      cause: error,
    })
  }
  return error
}
