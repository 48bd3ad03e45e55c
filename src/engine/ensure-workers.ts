import { spawn } from 'node:child_process'
import { closeSync, mkdirSync, openSync } from 'node:fs'
import { homedir, hostname } from 'node:os'
import { join } from 'node:path'
import type { Database } from './database/database.js'
import { refuseTransactionPooler } from './database/pooler.js'
import type { ConnectionTarget } from './database/target.js'
import { QueueError } from './errors.js'
import { absolutePaths } from './schedule/own-call.js'

/** due and active are tasks, limit is the queue's, started is 0 or 1 supervisor. */
export interface EnsureReport {
  due: bigint
  active: bigint
  limit: number
  started: number
}

export interface EnsureOptions {
  /** its URL is what the supervisor is given */
  target: ConnectionTarget
  /** what to run: the program's own entry and the arguments of `work` */
  program: string
  workArguments: string[]
  logFile: string
  /** the caller becomes the supervisor that is missing */
  isForeground?: boolean
  /** how long another call on this host may take; default 20 s */
  turnWithinMs?: number
}

const TURN_WITHIN_MS = 20_000
const REGISTERED_WITHIN_MS = 15_000

/**
 * Wakes the supervisor of this host that serves this database; where there is none and tasks are due, starts one.
 * Safe when called twice at once: the second call waits and finds the first one's supervisor.
 * Errors: SUPERVISOR_FAILED with the log file, TRANSACTION_POOLER.
 */
export async function ensureWorkers(database: Database, options: EnsureOptions): Promise<EnsureReport> {
  await refuseTransactionPooler(database)
  const lock = [`background_queue.ensure ${hostname()}`]
  const isOurTurn = await waitForTurn(database, lock, options.turnWithinMs ?? TURN_WITHIN_MS)
  try {
    const report = await rescueAndCount(database)
    await database.query(`select pg_notify('background_queue', 'due')`)
    if (report.due === 0n || (await isSupervised(database))) return { ...report, started: 0 }
    if (!options.isForeground) await start(database, options)
    return { ...report, started: 1 }
  } finally {
    if (isOurTurn) await database.query('select pg_advisory_unlock(hashtext($1))', lock)
  }
}

/** Any role may hold this lock for ever; then two calls at once start two supervisors, which does no harm. */
async function waitForTurn(database: Database, lock: string[], withinMs: number): Promise<boolean> {
  await database.query(`set lock_timeout = ${withinMs}`)
  try {
    await database.query('select pg_advisory_lock(hashtext($1))', lock)
    return true
  } catch (error) {
    if ((error as { code?: string }).code !== '55P03') throw error
    return false
  } finally {
    await database.query('set lock_timeout = 0')
  }
}

async function rescueAndCount(database: Database): Promise<Omit<EnsureReport, 'started'>> {
  await database.query('select background_queue.calibrate()')
  return database.one('select due, active, max_running as limit from background_queue.load()')
}

async function isSupervised(database: Database): Promise<boolean> {
  const rows = await database.query(
    `select from background_queue.supervisors s where s.host = $1
       and not background_queue.backend_is_gone(s.backend_pid, s.role_oid, s.backend_started_at, s.server_started_at)`,
    [hostname()],
  )
  return rows.length > 0
}

/** Starts `pgbq work` in a session of its own, and waits until it has registered. */
async function start(database: Database, options: EnsureOptions): Promise<void> {
  const log = openSync(options.logFile, 'a', 0o600)
  const child = spawn(process.execPath, [options.program, 'work', ...options.workArguments], {
    detached: true,
    cwd: '/',
    stdio: ['ignore', log, log],
    env: {
      ...process.env,
      ...absolutePaths(process.env),
      ...environmentOf(options.target),
      PGBQ_LOG_FILE: options.logFile,
    },
  })
  closeSync(log)
  let exitCode: number | null | undefined
  child.once('exit', (code) => {
    exitCode = code
  })
  child.once('error', () => {
    exitCode = null
  })
  child.unref()
  for (
    const giveUpAt = Date.now() + REGISTERED_WITHIN_MS;
    Date.now() < giveUpAt && exitCode === undefined;
  ) {
    const rows = await database.query(
      'select from background_queue.supervisors where host = $1 and pid = $2',
      [hostname(), child.pid],
    )
    // one that came and went again has found nothing left to do
    if (rows.length > 0) return
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  if (exitCode === 0) return
  throw new QueueError('SUPERVISOR_FAILED', `The supervisor did not start; its log is ${options.logFile}`, {
    hint: 'pgbq work, to see why',
  })
}

/** Names the server to a `pgbq` of ours, whatever else its environment names. */
export function environmentOf({ url }: ConnectionTarget): NodeJS.ProcessEnv {
  return url === undefined ? {} : { PGBQ_DATABASE_URL: url, PGBQ_DIRECT_URL: url }
}

/** The log of a detached supervisor of this database, in the user's state folder. */
export function defaultLogFile(database: string, env: NodeJS.ProcessEnv = process.env): string {
  const folder = join(env.XDG_STATE_HOME ?? join(homedir(), '.local', 'state'), 'pgbq')
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  return join(folder, `work-${database.replace(/[^\w.-]/g, '_')}.log`)
}
