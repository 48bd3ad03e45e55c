import { hostname } from 'node:os'
import { afterAll, beforeAll } from 'vitest'
import type { Database, Row } from '../../src/engine/database/database.js'
import { GroupPace } from '../../src/engine/worker/group-pace.js'
import type { Ending, Followed, LogLine, RunningTask } from '../../src/engine/worker/ipc.js'
import { WorkerSession } from '../../src/engine/worker/session.js'
import { Worker } from '../../src/engine/worker/worker.js'
import type { TestDatabase } from './database.js'
import { OWNER } from './names.js'

/** How a task ended: its row, and its last attempt that did not finish. */
export interface Outcome {
  id: bigint
  state: string
  tag: string | null
  rows: bigint | null
  errors: string | null
  retryCount: number
  statementsDone: number
  sqlstate: string | null
  message: string | null
  detail: string | null
  hint: string | null
  context: string | null
  position: number | null
  /** how many attempts did not finish */
  failures: number
  /** as the worker reported it; undefined where its session was lost */
  ending: Ending | undefined
}

/** The real worker's loop in this process, on a session of its own. */
export interface Executor {
  enqueue(sql: string, options?: Record<string, unknown>): Promise<bigint>
  /** enqueues, works until nothing is due, reads back */
  run(sql: string, options?: Record<string, unknown>): Promise<Outcome>
  /** works until nothing is due; true if the worker left without an error */
  drain(): Promise<boolean>
  outcome(id: bigint): Promise<Outcome>
  /** the worker's session now; a lost one is replaced at the next run, its tasks rescued */
  readonly session: WorkerSession
  /** what tasks say, as it comes */
  onLines: (task: RunningTask, lines: LogLine[]) => void
  /** to be changed before the first run */
  pace: GroupPace
}

const OUTCOME = `select t.id, t.state::text, t.command_tag as tag, t.rows_affected as rows, t.errors,
    t.retry_count as "retryCount", t.statements_done as "statementsDone", a.sqlstate, a.message, a.detail, a.hint,
    a.context, a.position, (select count(*)::integer from background_queue.attempts c where c.task_id = t.id) as failures
  from pg_background_tasks t left join lateral
    (select * from background_queue.attempts a where a.task_id = t.id order by a.id desc limit 1) a on true
  where t.id = $1`

/** Enqueues as `role`; the worker logs in as that role, or as another that becomes it by SET ROLE. */
export function useExecutor(db: TestDatabase, role = OWNER, login = role): Executor {
  const endings = new Map<bigint, Ending>()
  let client: Database
  let session: WorkerSession | undefined
  let workerId: bigint | undefined
  let worker: Worker | undefined
  let settle: (isAlive: boolean) => void

  beforeAll(async () => {
    client = await db.session(role)
  })
  afterAll(async () => {
    worker?.stop()
    await session?.database.close()
  })

  async function register(): Promise<WorkerSession> {
    if (session && !session.database.lost) return session
    if (workerId !== undefined) {
      await db.owner.query('select background_queue.bury_worker($1, false, $2)', [
        workerId,
        'the test ended it',
      ])
    }
    session = await WorkerSession.open(db.target(login))
    const backend = await session.identify()
    const { supervisor } = await db.owner.one<{ supervisor: bigint }>(
      `select background_queue.register_supervisor($1, $2, 'test', 1, null, null) as supervisor`,
      [hostname(), process.pid],
    )
    const { worker } = await db.owner.one<{ worker: bigint }>(
      `select background_queue.register_worker($1, $2, $3, $4, $8, $5, $6, $7, 'secret') as worker`,
      [
        supervisor,
        hostname(),
        process.pid,
        login,
        backend.pid,
        backend.startedAt,
        backend.serverStartedAt,
        login !== role,
      ],
    )
    workerId = worker
    return session
  }

  function note({ task, ending, lines = [] }: Followed): void {
    endings.set(task.id, ending)
    executor.onLines(task, lines)
  }

  const executor: Executor = {
    onLines: () => undefined,
    pace: new GroupPace(),

    async enqueue(sql: string, options: Record<string, unknown> = {}): Promise<bigint> {
      const { id } = await client.one<{ id: bigint }>('select pg_background_enqueue($1, null, $2) as id', [
        sql,
        JSON.stringify(options),
      ])
      return id
    },

    async drain(): Promise<boolean> {
      const current = await register()
      return new Promise<boolean>((resolve) => {
        settle = resolve
        if (worker) {
          worker.wake()
          return
        }
        worker = new Worker(current, db.target(login), {
          workerId: workerId!,
          secret: 'secret',
          pace: executor.pace,
          report: (messages) => {
            for (const message of messages) {
              if (message.type === 'lines') {
                executor.onLines(message.task, message.lines)
                worker?.noted()
              }
              if (message.type === 'ended') note(message)
              if (message.type === 'followed') message.runs.forEach(note)
              if (message.type === 'idle') settle(true)
            }
          },
        })
        worker.work().catch(async () => {
          worker = undefined
          await current.database.close()
          settle(false)
        })
      })
    },

    async outcome(id: bigint): Promise<Outcome> {
      return { ...(await db.owner.one<Row & Outcome>(OUTCOME, [id])), ending: endings.get(id) }
    },

    async run(sql: string, options: Record<string, unknown> = {}): Promise<Outcome> {
      const id = await executor.enqueue(sql, options)
      await executor.drain()
      return executor.outcome(id)
    },

    get session(): WorkerSession {
      return session!
    },
  }
  return executor
}
