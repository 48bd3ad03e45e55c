import { Database, type Row } from '../database/database.js'
import { dropLargeRows } from '../database/large-rows.js'
import { type PipelineQuery, type Step, type StepResult, startPipeline } from '../database/pipeline.js'
import { isPooled, putInForce, refuseTransactionPooler } from '../database/pooler.js'
import { executeText, readTag, type StatementResult, submitStatement } from '../database/statement.js'
import type { ConnectionTarget } from '../database/target.js'
import type { Backend } from './ipc.js'
import { Notices } from './notices.js'
import { readBackend, readDefaults } from './session-identity.js'
import {
  AS_OURSELVES,
  AS_OURSELVES_SCRIPT,
  CHECK,
  CLEAN,
  COMMIT,
  READ_ONLY_FIELD,
  SETTINGS,
  SETTINGS_14,
} from './session-sql.js'

/** A worker's one session: tasks' statements, and ours beside them. */
export class WorkerSession {
  readonly database: Database
  readonly notices = new Notices()
  /** Whose statements it is that the server says something about now; undefined: not a task's. */
  private speaker: (() => Notices) | undefined
  /** Claims need READ COMMITTED, a writable transaction, our role and time; some roles have other defaults. */
  private readonly hasOwnDefaults: boolean
  private readonly user: string
  private isDirty = false
  private isReadOnly = false
  /** A transaction is open in which nothing has run. */
  private isOpen = false
  /** What RESET ALL would lose, where a pooler took no settings: SQL that sets them again. */
  private readonly guards: string

  private constructor(database: Database, guards: string, user: string, hasOwnDefaults: boolean) {
    this.database = database
    this.guards = guards
    this.user = user
    this.hasOwnDefaults = hasOwnDefaults
    database.client.on('notice', (notice) => {
      this.speaker?.().add(notice)
    })
  }

  static async open(target: ConnectionTarget): Promise<WorkerSession> {
    const connect = (settings: Record<string, string>) =>
      Database.connect(target, {
        applicationName: 'pg_background_queue worker',
        pipeline: true,
        settings,
        keepsDefaults: true,
      })
    const database = await connect({ ...SETTINGS, ...SETTINGS_14 }).catch((error) => {
      if (error.code !== '42704') throw error
      return connect(SETTINGS)
    })
    // of our own role, the supervisor has seen to it
    if (target.isOtherRole) await refuseTransactionPooler(database)
    const guards = await putInForce(database, { ...SETTINGS, ...SETTINGS_14 })
    dropLargeRows(database.client)
    const { pid, user, isPlain } = await readDefaults(database)
    if (isPooled({ pid, ...database.backendKey })) database.holdBackend()
    return new WorkerSession(database, guards, user, !isPlain)
  }

  /** What others need to see this session's end; instants as every DateStyle and time zone reads them. */
  identify(): Promise<Backend> {
    return readBackend(this.database)
  }

  /** One statement of ours in a transaction of its own, behind a cleaning if a task was here. */
  async own<T extends Row>(text: string, values: unknown[]): Promise<T | undefined> {
    if (this.isOpen) await this.close()
    const isWrapped = this.hasOwnDefaults || this.isDirty
    if (!isWrapped) return (await this.database.query<T>(text, values))[0]
    const [, , rows] = await this.database.together(() => [
      this.database.query('begin isolation level read committed read write'),
      this.database.script(AS_OURSELVES_SCRIPT),
      this.database.query<T>(text, values),
      this.database.query('commit'),
    ])
    return (rows as T[])[0]
  }

  /**
   * A statement of ours, behind a cleaning if a task was here, and then a BEGIN for the next one: all in one go.
   * Any failure: leave the session.
   */
  async cleanAnd<T extends Row>(text: string, values: unknown[]): Promise<T | undefined> {
    const { isDirty, isOpen } = this
    this.isDirty = false
    this.isOpen = false
    const results = await this.database.together(() => [
      ...(isDirty ? [this.clean()] : isOpen ? [this.database.query('commit')] : []),
      this.own<T>(text, values),
      this.database.query('begin'),
    ])
    this.isOpen = true
    return results.at(-2) as T | undefined
  }

  /** Takes back a BEGIN that was sent too early. */
  async close(): Promise<void> {
    if (this.isOpen) await this.rollback()
  }

  /** Makes sure that nothing of the last task is left. Any failure: leave the session. */
  async makeClean(): Promise<void> {
    if (!this.isDirty) return
    if (this.isInTransaction) await this.rollback()
    await this.clean()
  }

  async clean(): Promise<void> {
    this.isDirty = false
    await this.database.script(this.cleaning())
  }

  private cleaning(): string {
    return `reset all; ${this.guards}${CLEAN}(${Math.random()})`
  }

  /** Whether between two tasks of one transaction the session can be made as good as new: it becomes its login's. */
  canShare(role: string): boolean {
    return role === this.user && this.guards === ''
  }

  /** The role of a task, where the session serves several. */
  async become(role: string): Promise<void> {
    if (role === this.user) return
    await this.close()
    await this.run(`set role "${role.replaceAll('"', '""')}"`)
  }

  /** BEGIN must have been answered before a task's text is sent, or the text would commit by itself. */
  async begin(isolation: string | null): Promise<void> {
    this.isDirty = true
    if (this.isOpen && isolation === null) {
      this.isOpen = false
      return
    }
    await this.close()
    await this.database.query(isolation ? `begin isolation level ${isolation}` : 'begin')
  }

  /** One statement of a task, inside or outside a transaction. */
  run(text: string): Promise<StatementResult> {
    return this.listening(this.submit(text))
  }

  private submit(text: string): Promise<StatementResult> {
    this.isDirty = true
    return submitStatement(this.database.client, text)
  }

  /** Nothing of ours is under way beside a task's statement and its checks. */
  async listening<T>(running: Promise<T>, speaker = () => this.notices): Promise<T> {
    this.speaker = speaker
    try {
      return await running
    } finally {
      this.speaker = undefined
    }
  }

  /** A text that only the server's own grammar knows. */
  async runText(text: string): Promise<StatementResult> {
    this.isDirty = true
    const [result] = await this.listening(
      this.database.together(() => [executeText(this.database.client, text), this.check()]),
    )
    return result as StatementResult
  }

  /** The last statement of a task, then the checks that would otherwise wait for the commit. */
  async runLast(text: string): Promise<StatementResult> {
    // while COPY FROM STDIN waits for its data, the server takes any other message for a broken protocol
    if (/copy/i.test(text)) return this.runThenCheck(text)
    this.isDirty = true
    const [result, ...checks] = await this.listening(this.start([{ text, isTask: true }, ...CHECK]).done)
    this.noteChecks(checks)
    return result!.tag === null ? { tag: null, rows: null } : readTag(result!.tag)
  }

  private async runThenCheck(text: string): Promise<StatementResult> {
    const result = await this.run(text)
    await this.listening(this.check())
    return result
  }

  /** Several statements in one go; who watches has to be told with `listening`. */
  start(steps: Step[]): PipelineQuery {
    this.isDirty = true
    return startPipeline(this.database.client, steps)
  }

  private async check(): Promise<void> {
    this.noteChecks(await this.start(CHECK).done)
  }

  noteChecks(checks: StepResult[]): void {
    this.isReadOnly = checks.some(({ rows }) => rows[0]?.[READ_ONLY_FIELD] === 'on')
  }

  /** Ends the task's transaction, after its last statement, with one of ours; the commit answers for both. */
  async commitWith(text: string, values: unknown[]): Promise<void> {
    if (this.isReadOnly && !(await this.hasWritten())) await this.commitBefore(text, values)
    else committed(await this.database.pipeline([{ text, values }, { text: 'commit' }]))
  }

  /**
   * The same, and in one go with it the cleaning and a BEGIN for the next task; `isDirty` tells where those failed.
   * `before`: what our statement needs. Returns its row as text.
   */
  async commitLastWith(
    text: string,
    values: unknown[],
    before: Step[] = [],
  ): Promise<(string | null)[] | undefined> {
    if (this.isReadOnly && !(await this.hasWritten())) return this.commitBefore(text, values)
    let preparation: Promise<void> | undefined
    try {
      const [results] = await this.database.together(() => {
        const ending = this.database.pipeline([...before, { text, values }, ...COMMIT])
        preparation = this.prepare()
        return [ending]
      })
      return committed((results as StepResult[]).slice(before.length)).rows[0]
    } finally {
      await preparation
    }
  }

  private async prepare(): Promise<void> {
    try {
      this.isDirty = false
      await this.database.script(`begin; ${this.cleaning()}; commit; begin`)
      this.isOpen = true
    } catch {
      this.isDirty = true
    }
  }

  /** A transaction that has written nothing: nothing is lost or done twice if it ends between the two. */
  private async commitBefore(text: string, values: unknown[]): Promise<(string | null)[] | undefined> {
    await this.database.query('commit')
    const steps = [
      { text: 'begin isolation level read committed read write' },
      ...AS_OURSELVES,
      { text, values },
      { text: 'commit' },
    ]
    return (await this.database.pipeline(steps)).at(-2)!.rows[0]
  }

  /** A transaction may have written before it was made READ ONLY. */
  private async hasWritten(): Promise<boolean> {
    const row = await this.database.one<{ xid: string | null }>(
      'select pg_catalog.pg_current_xact_id_if_assigned()::pg_catalog.text as xid',
    )
    return row.xid !== null
  }

  async rollback(): Promise<void> {
    this.isOpen = false
    await this.database.query('rollback')
  }

  get isInTransaction(): boolean {
    return (
      (this.database.client as unknown as { getTransactionStatus(): string }).getTransactionStatus() !== 'I'
    )
  }
}

/** The result of the first step, where the last was a COMMIT in truth. */
function committed(results: StepResult[]): StepResult {
  if (results.at(-1)!.tag !== 'COMMIT') throw new Error('The server rolled the commit back')
  return results[0]!
}
