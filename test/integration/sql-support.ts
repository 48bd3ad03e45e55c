import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, beforeEach } from 'vitest'
import type { Database, Row } from '../../src/engine/database/database.js'
import type { TestDatabase } from '../support/database.js'
import { OWNER, PASSWORD } from '../support/names.js'
import { waitFor } from '../support/wait.js'

export interface SqlFailure {
  sqlstate: string | undefined
  message: string
  hint: string | undefined
  constraint: string | undefined
}

interface ServerError {
  code?: string
  message: string
  hint?: string
  constraint?: string
}

/** The SQLSTATE, message, hint and constraint that a query ends with; throws if it succeeds. */
export async function failure(query: Promise<unknown>): Promise<SqlFailure> {
  try {
    await query
  } catch (error) {
    const { code, message, hint, constraint } = ((error as { cause?: ServerError }).cause ??
      error) as ServerError
    return { sqlstate: code, message, hint, constraint }
  }
  throw new Error('The query did not fail')
}

/** What the session was warned of so far, without other notices. */
export function collectWarnings(session: Database): string[] {
  const warnings: string[] = []
  session.onNotice(({ severity, message }) => {
    if (severity === 'WARNING') warnings.push(message)
  })
  return warnings
}

export async function enqueue(
  session: Database,
  sql = 'select 1',
  topic: string | null = null,
  options: object | null = null,
): Promise<bigint> {
  const row = await session.one<{ id: bigint }>('select pg_background_enqueue($1, $2, $3) as id', [
    sql,
    topic,
    options,
  ])
  return row.id
}

export async function findTask(db: TestDatabase, id: bigint): Promise<any> {
  return db.owner.one('select * from pg_background_tasks where id = $1', [id])
}

export interface Claim {
  task_id: bigint | null
  token: string
  sql_statement: string
  topic: string | null
  attempt: number
  timeout_in_sec: number | null
  statements_done: number
  role: string
  wait_ms: number | null
}

export interface NextClaim extends Claim {
  look_ms: number | null
  leaves_slot: boolean | null
}

export interface SqlWorker {
  id: bigint
  session: Database
  pid: number
  secret: string
  claim(): Promise<Claim>
  /** Claims, and throws if nothing was due */
  take(): Promise<Claim>
  finish(claim: Claim): Promise<void>
  /** Finishes, and claims the next: behind this one, or of all that waits */
  finishAndClaim(claim: Claim, isNear: boolean, secret?: string): Promise<NextClaim>
  /** Those that may run in the transaction of a task */
  follow(claim: Claim, limit: number, shown?: { token?: string; secret?: string }): Promise<Follower[]>
  /** Finishes a task and those that ran behind it, and claims the next */
  finishGroup(claim: Claim, followers: bigint[], instants: (number | null)[]): Promise<NextClaim>
  fail(claim: Claim, error?: object): Promise<string>
}

export interface Follower {
  task_id: bigint
  sql_statement: string
  wait_ms: number
  has_deferrable: boolean
}

/** A supervisor's row that lives as long as the session. */
export async function registerSupervisor(
  session: Database,
  lanes: string[] | null = null,
  wantsWake = true,
): Promise<bigint> {
  const { id } = await session.one<{ id: bigint }>(
    `select background_queue.register_supervisor('test', 1, '0', 4, $1, null) as id`,
    [lanes],
  )
  await session.query('update background_queue.supervisors set wants_wake = $2 where id = $1', [
    id,
    wantsWake,
  ])
  return id
}

export interface WorkerOptions {
  role?: string
  supervisorId?: bigint
  setsRole?: boolean
}

/** A session registered as a worker, which claims and ends tasks as told. */
export async function startWorker(db: TestDatabase, options: WorkerOptions = {}): Promise<SqlWorker> {
  const role = options.role ?? OWNER
  const session = await db.session(role)
  const supervisorId = options.supervisorId ?? (await registerSupervisor(db.owner))
  const backend = await session.one<Row & { pid: number }>(
    `select pid, backend_start::text as started, pg_postmaster_start_time()::text as server
     from pg_stat_activity where pid = pg_backend_pid()`,
  )
  const secret = randomBytes(8).toString('hex')
  const { id } = await db.owner.one<{ id: bigint }>(
    `select background_queue.register_worker($1, 'test', 1, $2, $3, $4, $5, $6, $7) as id`,
    [supervisorId, role, options.setsRole ?? false, backend.pid, backend.started, backend.server, secret],
  )
  const claim = () =>
    session.one<Claim & Row>('select * from background_queue.claim($1, $2)', [id, secret]) as Promise<Claim>
  return {
    id,
    session,
    pid: backend.pid,
    secret,
    claim,
    take: async () => {
      const taken = await claim()
      if (taken.task_id === null) throw new Error(`Nothing was due, wait_ms ${taken.wait_ms}`)
      return taken
    },
    finish: async (c) => {
      await session.query(`select background_queue.finish($1, $2, 1, 'SELECT')`, [c.task_id, c.token])
    },
    finishAndClaim: (c, isNear, shown = secret) =>
      session.one<NextClaim & Row>(
        `select * from background_queue.finish_and_claim(array[$1::bigint], $2, '{1}', '{SELECT}', null, $3, $4, $5)`,
        [c.task_id, c.token, id, shown, isNear],
      ),
    follow: (c, limit, { token = c.token, secret: shown = secret } = {}) =>
      session.query<Follower & Row>('select * from background_queue.take($1, $2, $3, $4, $5)', [
        c.task_id,
        token,
        id,
        shown,
        limit,
      ]),
    finishGroup: (c, followers, instants) =>
      session.one<NextClaim & Row>(
        'select * from background_queue.finish_and_claim($1, $2, $3, $4, $5, $6, $7, true)',
        [
          [c.task_id, ...followers],
          c.token,
          [null, ...followers.map((_, n) => n)],
          ['SELECT', ...followers.map(() => 'INSERT')],
          instants,
          id,
          secret,
        ],
      ),
    fail: async (c, error = { sqlstate: 'P0001', message: 'boom' }) => {
      const row = await session.one<{ state: string }>('select background_queue.fail($1, $2, $3) as state', [
        c.task_id,
        c.token,
        error,
      ])
      return row.state
    },
  }
}

/** Ends the worker's backend, and waits until its absence is seen. */
export async function killWorker(db: TestDatabase, worker: SqlWorker): Promise<void> {
  await db.admin.query('select pg_terminate_backend($1)', [worker.pid])
  await waitFor('the backend to be gone', async () => {
    const rows = await db.admin.query('select from pg_stat_activity where pid = $1', [worker.pid])
    return rows.length === 0
  })
}

/** Waits until the session with this pid waits for a lock. */
export async function waitsForLock(db: TestDatabase, pid: number): Promise<void> {
  await waitFor(`backend ${pid} to wait for a lock`, async () => {
    const rows = await db.admin.query(
      `select from pg_stat_activity where pid = $1 and wait_event_type = 'Lock'`,
      [pid],
    )
    return rows.length === 1
  })
}

export async function pidOf(session: Database): Promise<number> {
  return (await session.one<{ pid: number }>('select pg_backend_pid() as pid')).pid
}

export async function setParameter(
  session: Database,
  lane: string,
  name: string,
  value: string | null,
): Promise<void> {
  await session.query('select background_queue.set_parameter($1, $2, $3)', [lane, name, value])
}

/** Empties the queue before each test of the file. */
export function emptyQueueBeforeEach(db: TestDatabase): void {
  beforeEach(async () => {
    await db.owner.query('rollback')
    await db.owner.query(`truncate pg_background_tasks;
      delete from background_queue.workers;
      delete from background_queue.supervisors;
      delete from background_queue.settings;
      delete from background_queue.cooling;
      delete from background_queue.lanes where implicit;
      select background_queue.sync_lanes()`)
  })
}

/** A role for this test file alone, gone at its end with all that it owns. */
export function useRole(db: TestDatabase, name: string): string {
  const role = `pgbq_test_${name}_${randomBytes(3).toString('hex')}`
  beforeAll(async () => {
    await db.admin.query(`create role ${role} login password '${PASSWORD}'`)
  })
  afterAll(async () => {
    await db.admin.query(`drop owned by ${role} cascade`)
    await db.admin.query(`drop role ${role}`)
  })
  return role
}

/** What limits the time of a group, and what does not, on a machine that stalls. */
const GROUP_LIMITS: [string, string, string][] = [
  ['take', "'25 ms'", "'25 s'"],
  ['take', 'ceil( 50 -', 'ceil( 50000 -'],
  ['begin_next', ' 50 -', ' 50000 -'],
]

/** Gives groups of tasks so much time that none is cut short; false: what they have. */
export async function setGroupPatience(db: TestDatabase, isPatient: boolean): Promise<void> {
  for (const [name, short, long] of GROUP_LIMITS) {
    const { source } = await db.owner.one<{ source: string }>(
      'select pg_get_functiondef($1::regproc) as source',
      [`background_queue.${name}`],
    )
    if (!source.includes(short) && !source.includes(long)) throw new Error(`${name} has no "${short}"`)
    await db.owner.query(isPatient ? source.replace(short, long) : source.replace(long, short))
  }
}
