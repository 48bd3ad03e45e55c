import { Database, type Row } from '../database/database.js'
import { type StatementResult, submitStatement } from '../database/statement.js'
import type { ConnectionTarget } from '../database/target.js'
import type { Backend } from './ipc.js'

/**
 * What makes a session as good as new. Not DISCARD ALL, which also throws away the plans of our own functions.
 * RESET ALL does not undo a role, nor a session authorization; no statement of ours is prepared by name, so
 * DEALLOCATE ALL takes only the task's.
 */
const CLEAN = `set session authorization default; reset all; close all; unlisten *;
  select pg_catalog.pg_advisory_unlock_all(); discard temp; discard sequences; deallocate all`

/** The role and authorization of our own statements, whatever the task left; at the commit the task's come back. */
const AS_OURSELVES = 'set local session authorization default; set local role none'

/** Guards of a worker's session, each what RESET ALL comes back to. client_connection_check_interval: 14 and newer. */
const SETTINGS: Record<string, string> = {
  tcp_keepalives_idle: '5',
  tcp_keepalives_interval: '2',
  tcp_keepalives_count: '3',
  tcp_user_timeout: '10000',
  idle_in_transaction_session_timeout: '60000',
  // with it, an error's context would show the claim's token to the task
  log_parameter_max_length_on_error: '0',
}

/** A worker's one session: tasks' statements, and ours beside them. */
export class WorkerSession {
  readonly database: Database
  /** Claims need READ COMMITTED and a writable transaction; some roles have other defaults. */
  private hasOwnDefaults = false
  private isDirty = false

  private constructor(database: Database) {
    this.database = database
  }

  static async open(target: ConnectionTarget): Promise<WorkerSession> {
    const connect = (settings: Record<string, string>) =>
      Database.connect(target, {
        applicationName: 'pg_background_queue worker',
        pipeline: true,
        settings,
        keepsDefaults: true,
      })
    const database = await connect({ ...SETTINGS, client_connection_check_interval: '500' }).catch(
      (error) => {
        if (error.code !== '42704') throw error
        return connect(SETTINGS)
      },
    )
    const session = new WorkerSession(database)
    await session.readDefaults()
    return session
  }

  private async readDefaults(): Promise<void> {
    const row = await this.database.one<{ isolation: string; read_only: string }>(
      `select current_setting('default_transaction_isolation') as isolation,
        current_setting('default_transaction_read_only') as read_only`,
    )
    this.hasOwnDefaults = row.isolation !== 'read committed' || row.read_only !== 'off'
  }

  /** What others need to see this session's end. */
  async identify(): Promise<Backend> {
    const row = await this.database.one<Omit<Backend, 'processId' | 'secretKey'>>(
      `select pid, backend_start::text as "startedAt", pg_postmaster_start_time()::text as "serverStartedAt"
       from pg_stat_activity where pid = pg_backend_pid()`,
    )
    return { ...row, ...this.database.backendKey }
  }

  /** One statement of ours in a transaction of its own, behind a cleaning if a task was here. */
  async own<T extends Row>(text: string, values: unknown[]): Promise<T | undefined> {
    const isWrapped = this.hasOwnDefaults || this.isDirty
    if (!isWrapped) return (await this.database.query<T>(text, values))[0]
    const [, , rows] = await settle([
      this.database.query('begin isolation level read committed read write'),
      this.database.query(AS_OURSELVES),
      this.database.query<T>(text, values),
      this.database.query('commit'),
    ])
    return (rows as T[])[0]
  }

  /** Cleans the session and sends a statement of ours behind it, in one go. Any failure: leave the session. */
  async cleanAnd<T extends Row>(text: string, values: unknown[]): Promise<T | undefined> {
    if (!this.isDirty) return this.own(text, values)
    this.isDirty = false
    const [, row] = await settle([this.clean(), this.own<T>(text, values)])
    return row as T | undefined
  }

  async clean(): Promise<void> {
    this.isDirty = false
    await settle([
      this.database.query(CLEAN),
      this.database.query(`select pg_catalog.setseed(${Math.random()})`),
    ])
  }

  /** BEGIN must have been answered before a task's text is sent, or the text would commit by itself. */
  async begin(isolation: string | null): Promise<void> {
    this.isDirty = true
    await this.database.query(isolation ? `begin isolation level ${isolation}` : 'begin')
  }

  /** One statement of a task, inside or outside a transaction. */
  run(text: string): Promise<StatementResult> {
    this.isDirty = true
    return submitStatement(this.database.client, text)
  }

  /** The last statement of a task, then the checks that would otherwise wait for the commit. */
  async runLast(text: string): Promise<StatementResult> {
    const [result] = await settle([this.run(text), this.database.query('set constraints all immediate')])
    return result as StatementResult
  }

  /** Ends the task's transaction with a statement of ours; the commit answers for both. */
  async commitWith(text: string, values: unknown[]): Promise<void> {
    const [, , commit] = await settle([
      this.database.query(AS_OURSELVES),
      this.database.query(text, values),
      this.run('commit'),
    ])
    if ((commit as StatementResult).tag !== 'COMMIT') throw new Error('The server rolled the commit back')
  }

  async rollback(): Promise<void> {
    await this.database.query('rollback')
  }

  get isInTransaction(): boolean {
    return (
      (this.database.client as unknown as { getTransactionStatus(): string }).getTransactionStatus() !== 'I'
    )
  }
}

/** Waits for all, then throws the first error: what was pipelined behind it failed only because of it. */
async function settle(promises: Promise<unknown>[]): Promise<unknown[]> {
  const results = await Promise.allSettled(promises)
  const failed = results.find((r) => r.status === 'rejected')
  if (failed) throw failed.reason
  return results.map((r) => (r as PromiseFulfilledResult<unknown>).value)
}
