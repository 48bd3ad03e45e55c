import { randomBytes } from 'node:crypto'
import { Database } from '../database/database.js'
import { isPooled, refuseTransactionPooler } from '../database/pooler.js'
import { describeTarget } from '../database/target.js'
import { namedQuery } from '../sql-files.js'
import { type Finding, ok, problem, warning } from './check.js'

const LISTEN_WITHIN_MS = 5000
const SKEW_SEC = 1
const QUEUE_USAGE = 0.25

export interface ServerRow extends Record<string, unknown> {
  version: string
  number: number
  role: string
  in_recovery: boolean
  autovacuum: boolean
}

/** Where we are, as whom, and how far away that is. */
export async function checkConnection(database: Database): Promise<Finding> {
  const before = performance.now()
  const { role } = await database.one<{ role: string }>('select current_user as role')
  const tookMs = (performance.now() - before).toFixed(1)
  return ok(`${describeTarget(database.target)} as "${role}", a round trip takes ${tookMs} ms`)
}

/** PostgreSQL 13 or newer, and not a standby. */
export async function checkServer(database: Database): Promise<Finding> {
  const { version, number, in_recovery } = await database.one<ServerRow>(namedQuery('server'))
  if (number < 130_000) return problem(`PostgreSQL ${version} is older than 13`, 'upgrade the server')
  if (in_recovery)
    return problem(
      `PostgreSQL ${version}, a read-only standby: nothing can run here`,
      'pgbq doctor --database-url, with the primary server',
    )
  return ok(`PostgreSQL ${version}`)
}

/** What stands between us and the server. Errors: TRANSACTION_POOLER, POOL_EXHAUSTED. */
export async function checkPooler(database: Database): Promise<Finding> {
  await refuseTransactionPooler(database)
  const { pid } = await database.one<{ pid: number }>('select pg_backend_pid() as pid')
  return isPooled({ pid, ...database.backendKey })
    ? ok('A connection pooler in session mode stands before the server')
    : ok('No connection pooler stands before the server')
}

/** One session listens, another notifies: the way that supervisors are woken. */
export async function checkListen(database: Database, withinMs = LISTEN_WITHIN_MS): Promise<Finding> {
  const listener = await Database.connect(database.target, { applicationName: 'pgbq' })
  try {
    const channel = `background_queue_doctor_${randomBytes(6).toString('hex')}`
    const heard = new Promise<true>((resolve) => listener.onNotification(() => resolve(true)))
    await listener.query(`listen ${channel}`)
    const before = performance.now()
    await database.query('select pg_notify($1, $2)', [channel, ''])
    if (!(await within(heard, withinMs)))
      return problem(
        `A notification did not arrive within ${withinMs / 1000} s`,
        'pgbq doctor --database-url, with the server itself',
      )
    const tookMs = (performance.now() - before).toFixed(1)
    return (await findFullQueue(database)) ?? ok(`A notification arrives after ${tookMs} ms`)
  } finally {
    await listener.close()
  }
}

/** At its end every commit with a NOTIFY fails: https://www.postgresql.org/docs/current/sql-notify.html */
async function findFullQueue(database: Database): Promise<Finding | undefined> {
  const { usage } = await database.one<{ usage: number }>('select pg_notification_queue_usage() as usage')
  if (usage < QUEUE_USAGE) return undefined
  return warning(
    `The server's queue of notifications is ${Math.round(usage * 100)} % full: a session listens and stays in its transaction`,
    `psql -c "SELECT pid, state, xact_start FROM pg_stat_activity WHERE state LIKE 'idle in%' ORDER BY 3"`,
  )
}

async function within<T>(promise: Promise<T>, ms: number): Promise<T | undefined> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), ms)
  })
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}

/** Time is the server's alone; a host whose clock is wrong says wrong things to people and in its log. */
export async function checkClock(database: Database, now: () => number = Date.now): Promise<Finding> {
  const before = now()
  const { at } = await database.one<{ at: number }>(
    'select extract(epoch from clock_timestamp())::double precision as at',
  )
  const after = now()
  const doubt = (after - before) / 2000
  const skew = (before + after) / 2000 - at
  const off = `${Math.abs(skew).toFixed(3)} s ${skew > 0 ? 'ahead of' : 'behind'} the server's`
  if (Math.abs(skew) - doubt <= SKEW_SEC)
    return ok(`This host's clock is ${off}, give or take ${doubt.toFixed(3)} s`)
  return warning(`This host's clock is ${off}; tasks go by the server's`, 'timedatectl set-ntp true')
}
