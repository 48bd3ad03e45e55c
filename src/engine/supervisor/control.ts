import { sendCancelRequest } from '../database/cancel.js'
import type { Database } from '../database/database.js'
import { isPooled } from '../database/pooler.js'
import type { ConnectionTarget } from '../database/target.js'
import { inSchema, namedQuery } from '../sql-files.js'
import type { Backend } from '../worker/ipc.js'
import { type AdmissionOptions, type Admitted, admit } from './admission.js'
import type { Lifeline } from './lifeline.js'
import { findRightsWarnings } from './rights-warnings.js'

/** Closed tasks that one statement deletes. */
export const PRUNED_AT_ONCE = 1000

export interface Tick extends Record<string, unknown> {
  schema_version: number
  /** how many closed tasks were deleted; null: none was to be */
  pruned: number | null
  is_registered: boolean
  max_running: number
  due_roles: string[]
  next_due_ms: number | null
  rescued: bigint[]
  cancels: { taskId: number; workerId: number; by: string }[]
  settings_changed: boolean
  role_settings: string[]
  /** of the workers that were asked about, those whose backends are gone */
  severed: bigint[]
}

/** What a tick tells and asks. */
export interface Asked {
  wantsWake: boolean
  refusedRoles: string[]
  /** also delete a part of what is old, so that an idle supervisor asks no more than once a second */
  prunes?: boolean
  /** workers of whose backends it wants to hear */
  workerIds: bigint[]
}

export interface Registration {
  host: string
  version: string
  concurrency: number
  /** lanes this supervisor serves, null for all */
  lanes: string[] | null
}

const RELANE_BATCH = 5000

/** The supervisor's one connection: LISTEN, registry, housekeeping. One transaction of it at a time. */
export class Control {
  readonly database: Database
  readonly target: ConnectionTarget
  readonly schema: string
  readonly role: string
  supervisorId = 0n
  private readonly lifeline: Lifeline
  private queue: Promise<unknown> = Promise.resolve()
  private roleSettings: string[] = []

  private constructor({ database, lifeline, schema, role }: Admitted) {
    this.database = database
    this.target = database.target
    this.lifeline = lifeline
    this.schema = schema
    this.role = role
  }

  /** Errors: those of admit. */
  static async open(target: ConnectionTarget, options: AdmissionOptions = {}): Promise<Control> {
    return new Control(await admit(target, options))
  }

  /** previousId: whose workers are taken over, after a lost connection. */
  register({ host, version, concurrency, lanes }: Registration, previousId?: bigint): Promise<bigint> {
    return this.exclusive(async () => {
      await this.database.query('listen background_queue')
      const { id } = await this.database.one<{ id: bigint }>(
        'select background_queue.register_supervisor($1, $2, $3, $4, $5, $6) as id',
        [host, process.pid, version, concurrency, lanes, previousId ?? null],
      )
      this.supervisorId = id
      return id
    })
  }

  async registerWorker(
    host: string,
    pid: number,
    role: string,
    setsRole: boolean,
    backend: Backend,
    secret: string,
  ): Promise<bigint> {
    return this.exclusive(async () => {
      const { id } = await this.database.one<{ id: bigint }>(
        'select background_queue.register_worker($1, $2, $3, $4, $5, $6, $7, $8, $9) as id',
        [
          this.supervisorId,
          host,
          pid,
          role,
          setsRole,
          backend.pid,
          backend.startedAt,
          backend.serverStartedAt,
          secret,
        ],
      )
      return id
    })
  }

  tick({ wantsWake, refusedRoles, prunes = false, workerIds }: Asked): Promise<Tick> {
    return this.exclusive(() =>
      this.database.one<Tick>(
        `select t.*, (select max(m.version) from background_queue.migrations m) as schema_version,
          case when $4 then background_queue.prune(${PRUNED_AT_ONCE}) end as pruned,
          array(select w from unnest($5::bigint[]) w where background_queue.worker_is_gone(w)) as severed
         from background_queue.tick($1, $2, $3) t`,
        [this.supervisorId, wantsWake, refusedRoles, prunes, workerIds],
      ),
    )
  }

  /** Of the queue as it is now, whatever the functions of a newer program are; undefined where even that is gone. */
  async schemaVersion(): Promise<number | undefined> {
    try {
      const row = await this.exclusive(() =>
        this.database.one<{ version: number }>(
          'select max(version) as version from background_queue.migrations',
        ),
      )
      return row.version
    } catch {
      return undefined
    }
  }

  /** A setting of this role or database was reset: this session still has it, a new one would not. */
  hasStaleSettings({ role_settings }: Tick): boolean {
    const isStale = this.roleSettings.some((name) => !role_settings.includes(name))
    this.roleSettings = role_settings
    return isStale
  }

  /** Ids rescued, or null while the worker's backend is there. */
  async bury(workerId: bigint, isDeath: boolean, reason: string): Promise<bigint[] | null> {
    const { rescued } = await this.exclusive(() =>
      this.database.one<{ rescued: bigint[] | null }>(
        'select background_queue.bury_worker($1, $2, $3) as rescued',
        [workerId, isDeath, reason],
      ),
    )
    return rescued
  }

  terminate(backendPid: number): Promise<unknown> {
    return this.exclusive(() =>
      this.database.query('select background_queue.try_terminate($1)', [backendPid]),
    )
  }

  /**
   * Asks for the end of one running attempt and cancels its backend. The row stays locked until the signal is
   * delivered, so that the run cannot end in between and the next task be hit. False: it had ended. Throws where
   * another session holds the row for longer: whoever has a cancel in an open transaction must not stall us.
   */
  requestEnd(
    workerId: bigint,
    taskId: bigint,
    token: string | null,
    reason: string,
    by: string,
    backend: Backend,
  ): Promise<boolean> {
    return this.exclusive(() =>
      this.database.transaction(async () => {
        await this.database.query(`set local lock_timeout = '500ms'`)
        const { found } = await this.database.one<{ found: boolean }>(
          'select background_queue.request_end($1, $2, $3, $4, $5) as found',
          [taskId, workerId, token, reason, by],
        )
        if (found) await this.cancel(workerId, backend)
        return found
      }),
    )
  }

  /** What a dead worker's backend still runs. */
  cancelLeftover(workerId: bigint, backend: Backend): Promise<void> {
    if (!isPooled(backend)) return sendCancelRequest(this.target, backend)
    return this.exclusive(() => this.cancel(workerId, backend))
  }

  /** Through a pooler a cancel request may be late or lost: where our role may, the server is asked for it itself. */
  private async cancel(workerId: bigint, backend: Backend): Promise<void> {
    if (isPooled(backend)) {
      const { done } = await this.database.one<{ done: boolean }>(
        'select background_queue.try_cancel($1) as done',
        [workerId],
      )
      if (done) return
    }
    await sendCancelRequest(this.target, backend)
  }

  hasWork(refusedRoles: string[], lanes: string[] | null): Promise<boolean> {
    return this.exclusive(async () => {
      const row = await this.database.one<{ has: boolean }>(
        'select background_queue.has_work($1, $2) as has',
        [refusedRoles, lanes],
      )
      return row.has
    })
  }

  leftBehind(refusedRoles: string[], lanes: string[] | null) {
    return this.exclusive(() =>
      this.database.query<{ reason: string; topic: string | null; count: number }>(
        inSchema(namedQuery('left_behind'), this.schema),
        [refusedRoles, lanes],
      ),
    )
  }

  /** Moves waiting tasks to where the settings want them; false: there may be more. A look at all that wait. */
  relane(): Promise<boolean> {
    return this.exclusive(async () => {
      const { moved } = await this.database.one<{ moved: number }>(
        `select background_queue.relane(${RELANE_BATCH}) as moved`,
      )
      return moved < RELANE_BATCH
    })
  }

  prune(): Promise<number> {
    return this.exclusive(async () => {
      const { pruned } = await this.database.one<{ pruned: number }>(
        `select background_queue.prune(${PRUNED_AT_ONCE}) as pruned`,
      )
      return pruned
    })
  }

  /** What an operator should know of the rights here, one line each. */
  warnings(isPrivateServer: boolean): Promise<string[]> {
    return this.exclusive(() => findRightsWarnings(this.database, isPrivateServer))
  }

  async deregister(): Promise<void> {
    await this.exclusive(() =>
      this.database.query('delete from background_queue.supervisors where id = $1', [this.supervisorId]),
    )
  }

  close(): Promise<void> {
    return this.database.close()
  }

  private exclusive<T>(work: () => Promise<T>): Promise<T> {
    const result = this.queue.then(() => this.lifeline.hold(work))
    this.queue = result.catch(() => undefined)
    return result
  }
}
