import { randomBytes } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { afterAll, beforeAll, beforeEach, onTestFinished } from 'vitest'
import type { Database, Row } from '../../src/engine/database/database.js'
import { type CliOptions, type RunningWork, startWork } from '../support/cli.js'
import { type TestDatabase, useDatabase } from '../support/database.js'
import { PASSWORD } from '../support/names.js'
import { waitFor } from '../support/wait.js'

export interface TaskRow extends Row {
  id: bigint
  state: string
  topic: string | null
  started_at: string | null
  closed_at: string | null
  errors: string | null
  retry_count: number
  worker_deaths: number
  rescues: number
}

export interface Queue {
  readonly db: TestDatabase
  /** `by`: a session of another role */
  enqueue(sql: string, options?: Record<string, unknown> & { topic?: string }, by?: Database): Promise<bigint>
  /** several in one transaction */
  enqueueMany(statements: string[], topic?: string): Promise<bigint[]>
  task(id: bigint): Promise<TaskRow>
  reaches(id: bigint, states: string | string[], timeoutMs?: number): Promise<TaskRow>
  attempts(id: bigint): Promise<{ outcome: string; message: string | null; sqlstate: string | null }[]>
  set(name: string, value: string | null, topic?: string): Promise<void>
  count(sql: string): Promise<number>
  /** `pgbq work --json`; whatever happens, nothing of it is left when the test is over */
  work(args?: string[], options?: CliOptions & { isReadyAwaited?: boolean }): Promise<RunningWork>
}

/** A queue in a database of its own, empty before each test. */
export function useQueue(): Queue {
  const db = useDatabase()
  beforeEach(async () => {
    await db.owner.query('truncate pg_background_tasks')
    for (const table of [
      'settings',
      'cooling',
      'workers',
      'supervisors',
      'cancel_requests',
      'attempts',
      'notices',
    ]) {
      await db.owner.query(`delete from background_queue.${table}`)
    }
    await db.owner.query('select background_queue.sync_lanes()')
  })
  const queue: Queue = {
    db,
    async enqueue(sql, options = {}, by = db.owner) {
      const { topic = null, ...rest } = options
      const { id } = await by.one<{ id: bigint }>('select pg_background_enqueue($1, $2, $3) as id', [
        sql,
        topic,
        JSON.stringify(rest),
      ])
      return id
    },
    async enqueueMany(statements, topic) {
      const rows = await db.owner.query<{ id: bigint }>(
        'select pg_background_enqueue(s, $2) as id from unnest($1::text[]) s',
        [statements, topic ?? null],
      )
      return rows.map((row) => row.id)
    },
    task: (id) => db.owner.one<TaskRow>('select * from pg_background_tasks where id = $1', [id]),
    reaches: (id, states, timeoutMs) =>
      waitFor(
        `task ${id} to be ${states}`,
        async () => {
          const row = await queue.task(id)
          return [states].flat().includes(row.state) && row
        },
        timeoutMs,
      ),
    attempts: (id) =>
      db.owner.query('select * from background_queue.attempts where task_id = $1 order by id', [id]),
    async set(name, value, topic) {
      const lane = topic === undefined ? '' : `/${topic}`
      await db.owner.query('select background_queue.set_parameter($1, $2, $3)', [lane, name, value])
    },
    count: async (sql) => Number((await db.owner.one<{ count: bigint }>(sql)).count),
    async work(args = [], options = {}) {
      const { isReadyAwaited, ...rest } = options
      let work: RunningWork | undefined
      onTestFinished(() => nothingIsLeft(db, work))
      work = await startWork(args, { url: db.url(), ...rest, isReadyAwaited: false })
      if (isReadyAwaited !== false) await ready(work)
      return work
    },
  }
  return queue
}

/** A role of this test file's own, so that what is done to it reaches no other file; it may enqueue. */
export function useRole(queue: Queue): { readonly name: string; readonly session: Database } {
  const name = `pgbq_test_${randomBytes(6).toString('hex')}`
  const role = { name } as { name: string; session: Database }
  beforeAll(async () => {
    await queue.db.admin.query(`create role ${name} login password '${PASSWORD}'`)
    await queue.db.owner.query('select background_queue.grant_enqueue($1)', [name])
    role.session = await queue.db.session(name)
  })
  afterAll(async () => {
    await queue.db.admin.query(`drop owned by ${name}`)
    await queue.db.admin.query(`drop role ${name}`)
  })
  return role
}

async function ready(work: RunningWork): Promise<void> {
  await waitFor('pgbq work to be ready', () => {
    if (work.child.exitCode !== null) throw new Error(`pgbq work left: ${work.stderr()}`)
    return work.events().some((e) => e.event === 'ready')
  })
}

async function nothingIsLeft(db: TestDatabase, work: RunningWork | undefined): Promise<void> {
  const pids = workerPids(work)
  await waitFor('no worker process to be left', () => pids.every((pid) => !isAlive(pid)))
  await waitFor('no session of the queue to be left', async () => (await sessions(db)).length === 0)
}

/** An orphan that has ended may stay in the process table until init looks: it is not alive. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return !existsSync('/proc/self/stat') || !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))
  } catch {
    return false
  }
}

/** Process ids of all workers that a supervisor told of. */
export function workerPids(work: RunningWork | undefined): number[] {
  return (work?.events() ?? []).filter((e) => e.event === 'worker_started').map((e) => e.pid as number)
}

export interface SessionRow extends Row {
  pid: number
  application_name: string
  state: string
  usename: string
}

/** Backends of supervisors and workers of this database. */
export function sessions(db: TestDatabase): Promise<SessionRow[]> {
  return db.admin.query<SessionRow>(
    `select pid, application_name, state, usename from pg_stat_activity
     where datname = current_database() and application_name like 'pg\\_background\\_queue%' order by pid`,
  )
}

/** Asks for a graceful stop and gives the exit code. */
export async function stop(work: RunningWork, signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
  work.child.kill(signal)
  return work.exit()
}

/** The worker that runs a task: its process and its backend. */
export function holderOf(queue: Queue, id: bigint): Promise<{ pid: number; backend_pid: number }> {
  return waitFor(`task ${id} to run in a backend`, async () => {
    const [row] = await queue.db.admin.query<{ pid: number; backend_pid: number }>(
      `select w.pid, w.backend_pid from pg_background_tasks t join background_queue.workers w on w.id = t.worker_id
       join pg_stat_activity a on a.pid = w.backend_pid and a.state = 'active' and a.query not like '%claim%'
       where t.id = $1 and t.state = 'running'`,
      [id],
    )
    return row
  })
}

export const eventsOf = (work: RunningWork, name: string) => work.events().filter((e) => e.event === name)
