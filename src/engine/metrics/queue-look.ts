import { Database, OWN_SEARCH_PATH } from '../database/database.js'
import type { ConnectionTarget } from '../database/target.js'
import { requireInstalled } from '../installed.js'
import { LOOK_SETTINGS, takeLook } from '../watch/look.js'
import { Painter, type Picture } from '../watch/picture.js'

/** However often somebody asks, the server is asked no more often. */
const KEPT_MS = 1000
/** Prometheus waits for 10 s: what is known without the server must get there. */
const ANSWER_LIMIT_MS = 3000

/**
 * Looks at the queue when somebody asks, one query each time, over a session of its own: a slow answer must not hold up
 * the supervisor's. A table is measured once before, when the session is opened.
 */
export class QueueLook {
  private readonly target: ConnectionTarget
  private readonly painter = new Painter()
  private database: Database | undefined
  private schema = ''
  private latest: Promise<Picture> | undefined
  private keptUntil = Number.NEGATIVE_INFINITY

  constructor(target: ConnectionTarget) {
    this.target = target
  }

  /** The queue as it was at most a second ago. Errors: those of Database.connect, what the server says. */
  picture(): Promise<Picture> {
    if (this.latest && performance.now() < this.keptUntil) return this.latest
    this.keptUntil = Number.POSITIVE_INFINITY
    this.latest = this.look().finally(() => {
      this.keptUntil = performance.now() + KEPT_MS
    })
    return this.latest
  }

  async close(): Promise<void> {
    const { database } = this
    this.database = undefined
    if (database?.lost) database.drop()
    else await database?.close()
  }

  private async look(): Promise<Picture> {
    if (this.database === undefined || this.database.lost) await this.open()
    return this.paint()
  }

  private async open(): Promise<void> {
    await this.close()
    const database = await Database.connect(this.target, {
      applicationName: 'pg_background_queue metrics',
      settings: { search_path: OWN_SEARCH_PATH, ...LOOK_SETTINGS },
      connectTimeoutMs: ANSWER_LIMIT_MS,
    })
    this.database = database
    this.schema = await database.within(ANSWER_LIMIT_MS, requireInstalled(database))
    if (this.painter.isUnsampled) await this.paint()
  }

  private async paint(): Promise<Picture> {
    const { percent } = this.painter.demand(0)
    return this.painter.paint(
      await this.database!.within(
        ANSWER_LIMIT_MS,
        takeLook(this.database!, this.schema, {}, { sec: 0, percent }),
      ),
    )
  }
}
