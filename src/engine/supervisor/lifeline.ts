import { Database } from '../database/database.js'
import { isServersWord } from '../database/errors.js'

/** An answer that stays out for so long is looked after. */
const LOOK_AFTER_MS = 10_000
const ANSWER_WITHIN_MS = 5000

interface Backend {
  pid: number
  startedAt: string
}

/**
 * Drops a connection that will not be answered any more. What the network has lost, nobody tells: what is sent into a
 * void is sent again for a quarter of an hour, and Node cannot set TCP_USER_TIMEOUT. So where a statement of ours takes
 * long, a second session asks whether our backend is at work on it. One that waits for a lock is left in peace.
 */
export class Lifeline {
  private readonly database: Database
  private readonly backend: Backend
  private readonly lookAfterMs: number

  constructor(database: Database, backend: Backend, lookAfterMs = LOOK_AFTER_MS) {
    this.database = database
    this.backend = backend
    this.lookAfterMs = lookAfterMs
  }

  /** Errors: those of `work`; that of a closed connection where nobody is at work on it. */
  async hold<T>(work: () => Promise<T>): Promise<T> {
    let isOver = false
    const look = async () => {
      const isVain = await this.isVain()
      if (isOver) return
      if (isVain) this.database.drop()
      else timer = setTimeout(look, this.lookAfterMs)
    }
    let timer = setTimeout(look, this.lookAfterMs)
    try {
      return await work()
    } finally {
      isOver = true
      clearTimeout(timer)
    }
  }

  /** True where our backend is gone or idle, or no server can be reached; one without room for us may be at work. */
  private async isVain(): Promise<boolean> {
    let other: Database
    try {
      other = await Database.connect(this.database.target, {
        applicationName: 'pg_background_queue supervisor',
        connectTimeoutMs: ANSWER_WITHIN_MS,
      })
    } catch (error) {
      return !isServersWord(error as Error)
    }
    try {
      return await other.within(ANSWER_WITHIN_MS, this.isIdle(other))
    } catch {
      // such as a pooler that has no server connection for us: the next look may tell
      return false
    } finally {
      await other.close()
    }
  }

  private async isIdle(other: Database): Promise<boolean> {
    const { is_busy } = await other.one<{ is_busy: boolean }>(
      `select exists (select from pg_catalog.pg_stat_activity a
         where a.pid = $1 and a.backend_start = $2
           and coalesce(a.state, '') not in ('idle', 'idle in transaction')) as is_busy`,
      [this.backend.pid, this.backend.startedAt],
    )
    return !is_busy
  }
}
