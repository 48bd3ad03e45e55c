import { setTimeout as sleep } from 'node:timers/promises'
import { Database, OWN_SEARCH_PATH, type Row } from '../database/database.js'
import type { ConnectionTarget } from '../database/target.js'
import { QueueError } from '../errors.js'
import { requireInstalled } from '../installed.js'
import { inSchema } from '../sql-files.js'
import { LOOK_SETTINGS, type LookRequest, takeLook } from './look.js'
import { Painter, type Picture } from './picture.js'

const LOOK_EVERY_MS = 1000
/** A look that a person's key asks for comes sooner, but no sooner than this after the last one. */
const KEY_LOOK_MS = 250
const ANSWER_LIMIT_MS = 10_000

/** Why there is nothing new to see. */
export interface Trouble {
  message: string
  sinceMs: number
}

export interface FeedListener {
  picture(picture: Picture): void
  trouble(trouble: Trouble): void
}

/**
 * Looks at the queue once a second, over a session of its own, and connects anew for as long as it takes when that
 * is lost. What a person asks to be done goes over the same session, between two looks.
 */
export class Feed {
  private request: LookRequest = {}
  private database: Database | undefined
  private schema = ''
  private painter = new Painter()
  private troubleSinceMs: number | undefined
  private lastLookMs = Number.NEGATIVE_INFINITY
  private readonly stopping = new AbortController()
  private hurry = new AbortController()
  private readonly target: ConnectionTarget
  private readonly listener: FeedListener

  constructor(target: ConnectionTarget, listener: FeedListener) {
    this.target = target
    this.listener = listener
  }

  /** What the next looks bring; the first of them comes soon. */
  ask(request: LookRequest): void {
    this.request = request
    this.hurry.abort()
  }

  /** Looks until it is stopped. Throws only what the first look meets: later ones were possible once. */
  async run(): Promise<void> {
    try {
      await this.look()
      while (!this.stopping.signal.aborted) {
        await this.pause()
        await this.look().catch((error: Error) => this.report(error))
      }
    } finally {
      await this.close()
    }
  }

  stop(): void {
    this.stopping.abort()
    this.hurry.abort()
  }

  /** Cancels or retries one task, as pg_background_cancel and pg_background_retry do. */
  async act(verb: 'cancel' | 'retry', id: string): Promise<boolean> {
    if (this.database === undefined)
      throw new QueueError('SERVER_UNREACHABLE', 'There is no connection to the database now')
    const text = inSchema(`select :"schema".pg_background_${verb}($1) as done`, this.schema)
    const { done } = await this.database.within(
      ANSWER_LIMIT_MS,
      this.database.one<{ done: boolean } & Row>(text, [id]),
    )
    this.hurry.abort()
    return done
  }

  private async look(): Promise<void> {
    if (this.stopping.signal.aborted) return
    if (this.database === undefined || this.database.lost) await this.open()
    this.lastLookMs = performance.now()
    const look = await this.database!.within(
      ANSWER_LIMIT_MS,
      takeLook(this.database!, this.schema, this.request, this.painter.demand(this.troubleSec())),
    )
    if (this.stopping.signal.aborted) return
    this.troubleSinceMs = undefined
    const picture = this.painter.paint(look)
    if (!this.painter.isUnsampled) this.listener.picture(picture)
  }

  private async open(): Promise<void> {
    await this.close()
    const database = await Database.connect(this.target, {
      applicationName: 'pgbq',
      settings: { search_path: OWN_SEARCH_PATH, ...LOOK_SETTINGS },
      connectTimeoutMs: ANSWER_LIMIT_MS,
    })
    this.database = database
    this.schema = await database.within(ANSWER_LIMIT_MS, requireInstalled(database))
  }

  private async close(): Promise<void> {
    const database = this.database
    this.database = undefined
    if (database?.lost) database.drop()
    else await database?.close()
  }

  private report(error: Error): void {
    this.troubleSinceMs ??= Date.now()
    this.listener.trouble({ message: error.message, sinceMs: this.troubleSinceMs })
  }

  private troubleSec(): number {
    return this.troubleSinceMs === undefined ? 0 : (Date.now() - this.troubleSinceMs) / 1000
  }

  /** Until the next look is due, or sooner where somebody is in a hurry. */
  private async pause(): Promise<void> {
    const wait = (untilMs: number) =>
      sleep(Math.max(0, this.lastLookMs + untilMs - performance.now()), undefined, {
        signal: AbortSignal.any([this.stopping.signal, this.hurry.signal]),
      }).catch(() => undefined)
    if (this.painter.isUnsampled && this.troubleSinceMs === undefined) return
    await wait(LOOK_EVERY_MS)
    if (!this.hurry.signal.aborted) return
    this.hurry = new AbortController()
    await wait(KEY_LOOK_MS)
  }
}
