import { setTimeout as sleep } from 'node:timers/promises'
import { Database, type Row } from '../engine/database/database.js'
import type { ConnectionTarget } from '../engine/database/target.js'

const PATIENCE_MS = 30_000
const TRY_AGAIN_MS = 100
/** What a server says that is short of space or time, by a fault of the torture. */
const PASSING = ['SERVER_UNREACHABLE', '53100', '57014', '55P03']

/** A session that is opened anew when the server took it away; its users take turns. */
export class Line {
  private readonly target: ConnectionTarget
  private database: Database | undefined
  private turn: Promise<unknown> = Promise.resolve()
  private isClosed = false

  constructor(target: ConnectionTarget) {
    this.target = target
  }

  /** Errors: those of the work; the session may be lost in its midst. */
  use<T>(work: (database: Database) => Promise<T>): Promise<T> {
    const result = this.turn.then(async () => work(await this.open()))
    this.turn = result.catch(() => undefined)
    return result
  }

  /** Work that may be begun again: repeated until the session outlives it. */
  async insist<T>(work: (database: Database) => Promise<T>): Promise<T> {
    for (const giveUpAt = Date.now() + PATIENCE_MS; ; ) {
      try {
        return await this.use(work)
      } catch (error) {
        const isLost =
          this.database?.lost !== undefined || PASSING.includes((error as { code?: string }).code ?? '')
        if (!isLost || this.isClosed || Date.now() > giveUpAt) throw error
        await sleep(TRY_AGAIN_MS)
      }
    }
  }

  query<T extends Row>(text: string, values: unknown[] = []): Promise<T[]> {
    return this.use((database) => database.query<T>(text, values))
  }

  /** A session of one's own, to be closed by whoever asked for it. */
  connect(): Promise<Database> {
    return Database.connect(this.target, { applicationName: 'pgbq torture' })
  }

  private async open(): Promise<Database> {
    if (this.database && !this.database.lost) return this.database
    await this.database?.close()
    for (const giveUpAt = Date.now() + PATIENCE_MS; ; ) {
      try {
        this.database = await this.connect()
        return this.database
      } catch (error) {
        if (this.isClosed || Date.now() > giveUpAt) throw error
        await sleep(TRY_AGAIN_MS)
      }
    }
  }

  async close(): Promise<void> {
    this.isClosed = true
    await this.database?.close()
  }
}
