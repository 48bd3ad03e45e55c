import type { Writable } from 'node:stream'
import './navigator.js'
import type { EventEmitter } from 'node:events'
import pg from 'pg'
import { QueueError } from '../errors.js'
import { makeClient } from './client.js'
import { translateError } from './errors.js'
import { type Answer, exchange, type Sending } from './exchange.js'
import { throughHosts } from './hosts.js'
import { Inbox } from './inbox.js'
import { isoInstant } from './instant.js'
import { type Step, type StepResult, startPipeline } from './pipeline.js'
import { type ScriptResult, submitScript } from './statement.js'
import { type ConnectionTarget, describeTarget } from './target.js'

export interface BackendKey {
  processId: number
  secretKey: number
}

export interface ConnectOptions {
  applicationName: string
  /** server settings for the session, set at its start so that RESET ALL comes back to them */
  settings?: Record<string, string>
  pipeline?: boolean
  /** leave the role's time zone and date style as they are */
  keepsDefaults?: boolean
  connectTimeoutMs?: number
}

export type Row = Record<string, unknown>

/** Instants arrive as ISO 8601 in UTC with the server's microseconds, int8 as bigint, the rest as `pg` parses it. */
const types: pg.CustomTypesConfig = {
  getTypeParser: ((oid: number, format?: 'text' | 'binary') => {
    if (oid === 20) return (text: string) => BigInt(text)
    if (oid === 1016) return (text: string) => (text === '{}' ? [] : text.slice(1, -1).split(',').map(BigInt))
    if (oid === 1184) return isoInstant
    return pg.types.getTypeParser(oid, format as 'text')
  }) as pg.CustomTypesConfig['getTypeParser'],
}

/** For sessions that run nothing but our statements: what others plant in a schema is not found there. */
export const OWN_SEARCH_PATH = 'pg_catalog,pg_temp'

/** For each host, where nobody says how long. */
export const CONNECT_TIMEOUT_MS = 15_000

/**
 * So long after the last word, each second, the other end is asked whether it knows of the connection; no answer to
 * ten of that, or a no, ends it (libuv sets the rest). Else a session whose end the network has swallowed would be
 * waited for two hours.
 */
const KEEPALIVE_MS = 5000

/** For so long the other end may take to say good-bye. */
const CLOSE_WITHIN_MS = 2000

/** In the packet that starts a session, not in its options: a pooler knows them there, and keeps them per client. */
const CLIENT_SETTINGS = { timezone: 'UTC', datestyle: 'ISO' }

/** One session. Every error it throws is a QueueError or, for SQL errors that are no rule of ours, a `pg.DatabaseError`. */
export class Database {
  readonly client: pg.Client
  readonly target: ConnectionTarget
  /** what the start of the session has set besides `settings`; the server's own values stand behind a pooler */
  readonly identity: Record<string, string>
  lost: Error | undefined
  /** SQLSTATE of the last error that was not followed by an answer: of a session that the server ends, why it does. */
  lastWord: string | undefined
  private inbox: Inbox | undefined

  private constructor(client: pg.Client, target: ConnectionTarget, applicationName: string) {
    this.client = client
    this.target = target
    this.identity = { application_name: applicationName, client_encoding: 'UTF8' }
    const { connection } = client as unknown as { connection: EventEmitter }
    connection.on('errorMessage', ({ code }: { code?: string }) => {
      this.lastWord = code
    })
    connection.on('readyForQuery', () => {
      this.lastWord = undefined
    })
    client.on('error', (error) => {
      this.lost ??= error
    })
    client.on('end', () => {
      this.lost ??= new Error('The connection was closed')
    })
  }

  /**
   * Opens a session on the first of the target's servers that will do; from then on its target is that server alone.
   * Errors: SERVER_UNREACHABLE, LOGIN_REFUSED, DATABASE_MISSING … with the way out.
   */
  static connect(target: ConnectionTarget, options: ConnectOptions): Promise<Database> {
    return throughHosts(target, (one, isEncrypted) => Database.openOn(one, isEncrypted, options))
  }

  private static async openOn(
    target: ConnectionTarget,
    isEncrypted: boolean,
    options: ConnectOptions,
  ): Promise<Database> {
    const theirs = target.config.options
    const open = (startup: string) => Database.open(target, isEncrypted, options, startup)
    try {
      return await open(startupOptions(theirs, options.settings ?? {}))
    } catch (error) {
      // a pooler that takes no options; putInForce() sets ours. The user's own must not be dropped in silence.
      const isOurs = !theirs && options.settings !== undefined
      if (!isOurs || (error as QueueError).code !== 'OPTIONS_REFUSED') throw error
      return open('')
    }
  }

  private static async open(
    target: ConnectionTarget,
    isEncrypted: boolean,
    options: ConnectOptions,
    startup: string,
  ): Promise<Database> {
    const client = makeClient(target, isEncrypted, {
      types,
      application_name: options.applicationName,
      options: startup,
      connectionTimeoutMillis: options.connectTimeoutMs ?? target.connectTimeoutMs ?? CONNECT_TIMEOUT_MS,
      keepAlive: true,
      keepAliveInitialDelayMillis: KEEPALIVE_MS,
      ...(options.pipeline ? { pipeline: true } : {}),
    } as pg.ClientConfig)
    if (!options.keepsDefaults) addToStartup(client, CLIENT_SETTINGS)
    const database = new Database(client, target, options.applicationName)
    try {
      await client.connect()
    } catch (error) {
      void client.end().catch(() => undefined)
      throw translateError(error, describeTarget(target))
    }
    return database
  }

  async query<T extends Row = Row>(text: string, values: unknown[] = []): Promise<T[]> {
    try {
      return (await this.client.query<T>({ text, values })).rows
    } catch (error) {
      throw this.translated(error)
    }
  }

  /** Several commands of ours in one message. */
  async script(text: string): Promise<ScriptResult> {
    try {
      return await submitScript(this.client, text)
    } catch (error) {
      throw this.translated(error)
    }
  }

  /** Sends all in one packet and waits for all; throws the first error: what is behind it failed because of it. */
  async together(send: () => unknown[]): Promise<unknown[]> {
    const { stream } = (this.client as unknown as { connection: { stream: Writable } }).connection
    stream.cork()
    const promises = send()
    stream.uncork()
    const results = await Promise.allSettled(promises)
    const failed = results.find((r) => r.status === 'rejected')
    if (failed) throw failed.reason
    return results.map((r) => (r as PromiseFulfilledResult<unknown>).value)
  }

  /** Statements of ours that are answered together. */
  async pipeline(steps: Step[]): Promise<StepResult[]> {
    try {
      return await startPipeline(this.client, steps).done
    } catch (error) {
      throw this.translated(error)
    }
  }

  /** Of what the server sends, only what is of use reaches `pg`, and there may be exchanges besides. */
  watchInbox(): void {
    this.inbox = Inbox.of(this.client)
  }

  /** Messages of ours, while nothing else is under way. Errors are as they come, those of the server in the answers. */
  exchange(sending: Sending): Promise<Answer[]> {
    return exchange(this.client, this.inbox!, sending, ({ code }) => {
      this.lastWord = code
    })
  }

  translated(error: unknown): Error {
    return translateError(error, describeTarget(this.target))
  }

  async one<T extends Row = Row>(text: string, values: unknown[] = []): Promise<T> {
    const [row] = await this.query<T>(text, values)
    return row as T
  }

  /** Runs `work` between BEGIN and COMMIT; any error rolls back and is thrown on. */
  async transaction<T>(work: () => Promise<T>): Promise<T> {
    await this.query('begin isolation level read committed read write')
    try {
      const result = await work()
      await this.query('commit')
      return result
    } catch (error) {
      if (!this.lost) await this.query('rollback').catch(() => undefined)
      throw error
    }
  }

  onNotification(listener: (payload: string) => void): void {
    this.client.on('notification', (message) => listener(message.payload ?? ''))
  }

  onNotice(listener: (notice: { severity: string; message: string }) => void): void {
    this.client.on('notice', (notice) =>
      listener({ severity: notice.severity ?? 'NOTICE', message: notice.message ?? '' }),
    )
  }

  onLost(listener: (error: Error) => void): void {
    this.client.once('end', () => listener(this.lost ?? new Error('The connection was closed')))
  }

  /** What a cancel request has to show: https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-CANCELING-REQUESTS */
  get backendKey(): BackendKey {
    const { processID, secretKey } = this.client as unknown as { processID: number; secretKey: number }
    return { processId: processID, secretKey }
  }

  /**
   * Keeps a pooler from giving our backend to its next client when we die between two queries: nothing would tell
   * then that our session has ended. A Flush, which the server answers with nothing, makes it look like the middle of
   * one, and a pooler closes such a server connection (pgbouncer: "client disconnect while server was not ready").
   */
  holdBackend(): void {
    const { connection } = this.client as unknown as { connection: { flush(): void } & NodeJS.EventEmitter }
    connection.flush()
    connection.on('readyForQuery', () => connection.flush())
  }

  /**
   * Drops the connection where an answer on it stays out for so long: a server that has gone without a word never
   * answers. Errors: those of the answer; `tooLate`, by default SERVER_UNREACHABLE.
   */
  async within<T>(limitMs: number, answer: Promise<T>, tooLate?: Error): Promise<T> {
    let isLate = false
    const timer = setTimeout(() => {
      isLate = true
      this.drop()
    }, limitMs)
    try {
      return await answer
    } catch (error) {
      throw isLate ? (tooLate ?? this.silence(limitMs)) : error
    } finally {
      clearTimeout(timer)
    }
  }

  private silence(forMs: number): QueueError {
    const message = `The server of ${describeTarget(this.target)} has not answered for ${forMs / 1000} s`
    return new QueueError('SERVER_UNREACHABLE', message, { hint: 'pgbq status, in a moment' })
  }

  /** Ends the connection without a word, also where the other side answers nothing. */
  drop(): void {
    const { connection } = this.client as unknown as { connection: { stream: { destroy(): void } } }
    connection.stream.destroy()
  }

  async close(): Promise<void> {
    const timer = setTimeout(() => this.drop(), CLOSE_WITHIN_MS)
    await this.client.end().catch(() => undefined)
    clearTimeout(timer)
  }
}

/** `pg` knows a few of the settings that may stand beside user and database; the server takes any. */
function addToStartup(client: pg.Client, settings: Record<string, string>): void {
  const starting = client as unknown as { getStartupConf(): Record<string, string> }
  const known = starting.getStartupConf.bind(client)
  starting.getStartupConf = () => ({ ...known(), ...settings })
}

function startupOptions(theirs: string | undefined, settings: Record<string, string>): string {
  const ours = Object.entries(settings).map(([name, value]) => `-c ${name}=${value.replaceAll(' ', '\\ ')}`)
  return [theirs, ...ours].filter(Boolean).join(' ')
}
