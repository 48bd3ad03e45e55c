import { Database } from '../database/database.js'
import { putInForce } from '../database/pooler.js'
import type { ConnectionTarget } from '../database/target.js'
import type { Emit } from '../events.js'
import type { LogLine, RunningTask } from '../worker/ipc.js'
import { SETTINGS } from './admission.js'

const NOTE = 'select background_queue.note($1)'
const LINES_AT_ONCE = 500
/** Lines that no run waits for are gathered for so long: a write for each task would cost as much as the task. */
const GATHER_MS = 100
/** What ends of runs bring is waited for by nobody: beyond this, the oldest go. */
const MOST_WAITING = 10_000
/** After a failure, for so long nothing is kept. */
const PAUSE_MS = 5000
/** Beyond the server's own limit for a statement: nothing of the network comes back. */
const ANSWER_WITHIN_MS = 10_000
const IDLE_MS = 60_000
const CLOSE_WITHIN_MS = 1000

/** A lock that is not to be had, or a server that does not answer, costs lines, not the tasks' time. */
const KEEPER_SETTINGS = { ...SETTINGS, statement_timeout: '5000', synchronous_commit: 'off' }

interface KeptLine extends LogLine {
  taskId: bigint
  attempt: number
}

/**
 * Writes what tasks say, on a connection of its own that is opened when there is something: so it is seen while the
 * task runs, and stays where the task is rolled back. What cannot be written is lost, and no task waits for it.
 */
export class LogKeeper {
  private readonly target: () => ConnectionTarget
  private readonly emit: Emit
  private database: Database | undefined
  private lines: KeptLine[] = []
  private answers: (() => void)[] = []
  private writing: Promise<void> | undefined
  private pausedUntil = 0
  private isBroken = false
  private gatherTimer: NodeJS.Timeout | undefined
  private idleTimer: NodeJS.Timeout | undefined

  /** `target`: the server of the control connection, which may change */
  constructor(target: () => ConnectionTarget, emit: Emit) {
    this.target = target
    this.emit = emit
  }

  /** Takes lines of one run; `onDone` is called when they are kept, or given up. */
  keep({ id, attempt }: RunningTask, lines: LogLine[], onDone?: () => void): void {
    for (const line of lines) this.lines.push({ ...line, taskId: id, attempt })
    if (this.lines.length > MOST_WAITING) this.lines.splice(0, this.lines.length - MOST_WAITING)
    if (onDone) this.answers.push(onDone)
    if (onDone) this.start()
    else this.startSoon()
  }

  private startSoon(): void {
    if (this.writing === undefined) this.gatherTimer ??= setTimeout(() => this.start(), GATHER_MS)
  }

  private start(): void {
    clearTimeout(this.gatherTimer)
    this.gatherTimer = undefined
    this.writing ??= this.write().finally(() => {
      this.writing = undefined
      if (this.lines.length > 0) this.startSoon()
    })
  }

  /** Writes what is left, as long as that takes no time. */
  async close(): Promise<void> {
    if (this.lines.length > 0) this.start()
    clearTimeout(this.idleTimer)
    let timer: NodeJS.Timeout | undefined
    const tooLate = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, CLOSE_WITHIN_MS)
    })
    await Promise.race([this.writing, tooLate])
    clearTimeout(timer)
    clearTimeout(this.gatherTimer)
    await this.disconnect(this.writing !== undefined)
  }

  private async write(): Promise<void> {
    clearTimeout(this.idleTimer)
    do {
      const answers = this.answers.splice(0)
      const lines = this.lines.splice(0)
      try {
        while (lines.length > 0) await this.writeBatch(lines.splice(0, LINES_AT_ONCE))
      } catch (error) {
        await this.giveUp(error as Error)
      }
      for (const answer of answers) answer()
    } while (this.answers.length > 0)
    this.idleTimer = setTimeout(() => void this.disconnect(), IDLE_MS).unref()
  }

  private async writeBatch(lines: KeptLine[]): Promise<void> {
    if (performance.now() < this.pausedUntil) return
    const database = await this.connect()
    const note = (text: string) => database.within(ANSWER_WITHIN_MS, database.query(NOTE, [text]))
    try {
      await note(toJson(lines))
    } catch (error) {
      // the database's encoding does not have every character
      if (!/^22/.test((error as { code?: string }).code ?? '')) throw error
      await note(toJson(lines).replace(/[^\x20-\x7e]/g, '?'))
    }
    this.isBroken = false
  }

  private async connect(): Promise<Database> {
    if (this.database && !this.database.lost) return this.database
    const database = await Database.connect(this.target(), {
      applicationName: 'pg_background_queue notices',
      settings: KEEPER_SETTINGS,
      connectTimeoutMs: PAUSE_MS,
    })
    this.database = database
    await putInForce(database, KEEPER_SETTINGS)
    return database
  }

  /** Whatever is wrong, the control connection sees to it that the supervisor gets over it. */
  private async giveUp({ message }: Error): Promise<void> {
    this.lines = []
    this.pausedUntil = performance.now() + PAUSE_MS
    if (!this.isBroken)
      this.emit({ event: 'warning', message: `Notices of tasks are not kept for now: ${message}` })
    this.isBroken = true
    await this.disconnect(true)
  }

  private async disconnect(isHasty = false): Promise<void> {
    const { database } = this
    this.database = undefined
    if (isHasty) database?.drop()
    else await database?.close()
  }
}

/** As background_queue.note() takes them; times as their distance from now, for the server's clock decides. */
function toJson(lines: KeptLine[]): string {
  const now = Date.now()
  return JSON.stringify(
    lines.map(({ taskId, at, ...line }) => ({
      ...line,
      task_id: String(taskId),
      age_ms: Math.max(0, now - at),
    })),
  )
}
