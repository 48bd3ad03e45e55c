import { Database, type Row } from '../database/database.js'
import { notInstalled } from '../database/errors.js'
import type { Answer } from '../database/exchange.js'
import { readRow, SYNC, script, statement } from '../database/messages.js'
import { type PipelineQuery, type Step, startPipeline } from '../database/pipeline.js'
import { isPooled, putInForce, refuseTransactionPooler } from '../database/pooler.js'
import { executeText, readTag, type StatementResult, submitStatement } from '../database/statement.js'
import { type ConnectionTarget, describeTarget } from '../database/target.js'
import { type Call, Calls } from './calls.js'
import type { Backend } from './ipc.js'
import { Notices } from './notices.js'
import { type Defaults, readBackend, readDefaults } from './session-identity.js'
import {
  AS_OURSELVES,
  AS_OURSELVES_SCRIPT,
  BEGIN_OURS,
  CHECK_SCRIPT,
  CHECK_STEPS,
  CLEAN,
  COMMITTED,
  HAS_ONLY_READ,
  SETTINGS,
  SETTINGS_14,
  UNLOCK_AND_RESEED,
} from './session-sql.js'

const CHECK = script(CHECK_SCRIPT)

const FINISH_AND_CLAIM = 'select * from background_queue.finish_and_claim($1, $2, $3, $4, $5, $6, $7, $8)'
/** Columns of its row; without a task, -1: a READ ONLY transaction that has written nothing was not finished. */
const TASK_ID = 0
const WAIT_MS = 10
const isUnfinished = (row: (string | null)[]): boolean => row[TASK_ID] === null && row[WAIT_MS] === '-1'

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
  /** A transaction is open in which nothing has run. */
  private isOpen = false
  /** What RESET ALL would lose, where a pooler took no settings: SQL that sets them again. */
  private readonly guards: string
  private readonly calls: Calls

  private constructor(database: Database, guards: string, defaults: Defaults) {
    this.database = database
    this.guards = guards
    this.user = defaults.user
    this.hasOwnDefaults = !defaults.isPlain
    const isBehindPooler = isPooled({ ...database.backendKey, pid: defaults.pid })
    this.calls = new Calls(defaults, isBehindPooler)
    if (isBehindPooler) database.holdBackend()
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
    database.watchInbox()
    return new WorkerSession(database, guards, await readDefaults(database))
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
      this.database.query(BEGIN_OURS),
      this.database.script(AS_OURSELVES_SCRIPT),
      this.database.query<T>(text, values),
      this.database.query('commit'),
    ])
    return (rows as T[])[0]
  }

  /**
   * Calls claim(), behind a cleaning if a task was here, and sends a BEGIN for what it may give: all in one go. Returns
   * its row as text. Any failure: leave the session.
   */
  async claim(values: unknown[]): Promise<(string | null)[]> {
    const before = this.isDirty ? this.wholeCleaning : this.isOpen ? 'commit' : ''
    this.isDirty = false
    this.isOpen = false
    const call = this.calls.claim(values, before, this.hasOwnDefaults)
    const answers = await this.answersTo(call)
    const failed = answers.find(({ error }) => error)
    if (failed) throw this.database.translated(failed.error)
    this.isOpen = true
    return readRow(answers[call.rowIn]!.value!)
  }

  private async answersTo({ messages, rowIn }: Call): Promise<Answer[]> {
    if (!this.calls.isInstalled) throw notInstalled(describeTarget(this.database.target))
    try {
      return await this.database.exchange({ messages, answers: messages.length, rowIn })
    } catch (error) {
      throw this.database.translated(error)
    }
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
    await this.database.script(this.wholeCleaning)
  }

  private get wholeCleaning(): string {
    return `${this.cleaning}; ${UNLOCK_AND_RESEED}(${Math.random()})`
  }

  private get cleaning(): string {
    return `reset all; ${this.guards}${CLEAN}`
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
    const messages = [statement(text), CHECK, SYNC]
    const sending = { messages, answers: 2, answersIfFirstFails: 1 }
    const [answer] = await this.listening(this.database.exchange(sending))
    if (answer!.error) throw answer!.error
    const [tag] = answer!.tags
    return tag == null ? { tag: null, rows: null } : readTag(tag)
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
    await this.start(CHECK_STEPS).done
  }

  /** Ends the task's transaction, after its last statement, with one of ours; the commit answers for both. */
  async commitWith(text: string, values: unknown[]): Promise<void> {
    const [only] = await this.database.query<{ has_only_read: boolean }>(HAS_ONLY_READ)
    if (only!.has_only_read) {
      await this.database.query('commit')
      await this.apart(text, values)
    } else {
      const results = await this.database.pipeline([{ text, values }, { text: 'commit' }])
      if (results.at(-1)!.tag !== 'COMMIT') throw rolledBack()
    }
  }

  /**
   * Ends it with finish_and_claim() of these values, and in one go with it the cleaning and a BEGIN for the next task;
   * `isDirty` tells where those failed. `before`: statements of ours that come first. Returns the row as text.
   */
  async finish(values: unknown[], before = ''): Promise<(string | null)[]> {
    const call = this.calls.finish(values, before, this.cleaning)
    const answers = await this.answersTo(call)
    const { tags } = answers[call.rowIn + 1]!
    this.isOpen = answers.every(({ error }) => error === undefined)
    this.isDirty = !this.isOpen
    const isOver = tags.length >= COMMITTED.length
    const failed = answers.slice(0, isOver ? call.rowIn + 1 : undefined).find(({ error }) => error)
    if (failed) throw this.database.translated(failed.error)
    if (tags[1] !== COMMITTED[1]) throw rolledBack()
    const row = readRow(answers[call.rowIn]!.value!)
    return isUnfinished(row) ? this.apart(FINISH_AND_CLAIM, values) : row
  }

  /** In a transaction of its own, behind one that has only read. */
  private async apart(text: string, values: unknown[]): Promise<(string | null)[]> {
    await this.close()
    const steps = [{ text: BEGIN_OURS }, ...AS_OURSELVES, { text, values }, { text: 'commit' }]
    return (await this.database.pipeline(steps)).at(-2)!.rows[0]!
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

const rolledBack = (): Error => new Error('The server rolled the commit back')
