/** The program of a worker's process, forked by the supervisor. It loads nothing but `pg` and the loop. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Database } from '../database/database.js'
import type { ConnectionTarget } from '../database/target.js'
import { GroupPace } from './group-pace.js'
import {
  EXIT_CONNECTION_LOST,
  EXIT_REFUSED,
  EXIT_SESSION_ENDED,
  type FromWorker,
  type ToWorker,
  WORKER_TARGET_ENV,
} from './ipc.js'
import { WorkerSession } from './session.js'
import { Worker } from './worker.js'

/** Between a server's last word and the end of the connection. */
const CLOSING_MS = 100

function report(messages: FromWorker[]): void {
  if (process.connected) process.send!(messages)
}

async function main(): Promise<void> {
  const target = JSON.parse(process.env[WORKER_TARGET_ENV]!) as ConnectionTarget
  delete process.env[WORKER_TARGET_ENV]
  let worker: Worker | undefined
  process.on('SIGINT', () => undefined)
  process.on('SIGHUP', () => undefined)
  process.on('SIGTERM', () => stop())
  process.on('disconnect', async () => {
    await worker?.abandon()
    // without its client the backend ends by itself (client_connection_check_interval)
    process.exit(0)
  })
  // it may have gone while this program was loaded
  if (!process.connected) process.exit(0)
  const stop = (): void => {
    if (!worker) process.exit(0)
    worker.stop()
  }
  const begin = (workerId: bigint, secret: string): void => {
    const pace = new GroupPace()
    worker = new Worker(session, session.database.target, { workerId, secret, pace, report })
    report([{ type: 'ready' }])
    worker.work().then(
      () => leave(session),
      (error) => fail(error, session),
    )
  }
  process.on('message', (message: ToWorker) => {
    if (message.type === 'register') begin(message.workerId, message.secret)
    else if (message.type === 'wake') worker?.wake()
    else if (message.type === 'call') report([])
    else if (message.type === 'noted') worker?.noted()
    else stop()
  })
  const session = await WorkerSession.open(target)
  report([{ type: 'connected', backend: await session.identify() }])
}

async function leave(session: WorkerSession): Promise<void> {
  await session.database.close()
  process.exit(0)
}

/** 42501: the role may not connect to this database, or lacks a right of ours. */
const REFUSALS = new Set([
  'LOGIN_REFUSED',
  'DATABASE_MISSING',
  'NOT_INSTALLED',
  'NOT_ALLOWED',
  'TRANSACTION_POOLER',
  'POOL_EXHAUSTED',
  '42501',
])

/** A server that goes down or has no room does not mean this session alone, and a pooler's word is not its own. */
const ENDS_OF_MANY = /^(08|53|57P02|57P03)/

async function fail(error: unknown, session?: WorkerSession): Promise<void> {
  const { code = '', message } = error as { code?: string; message: string }
  report([{ type: 'refused', code, message }])
  if (REFUSALS.has(code)) process.exit(EXIT_REFUSED)
  process.exit((await wasEnded(session?.database)) ? EXIT_SESSION_ENDED : EXIT_CONNECTION_LOST)
}

/** Whether the server said a last word to this session before the connection closed. */
async function wasEnded(database: Database | undefined): Promise<boolean> {
  const word = database?.lastWord
  if (!database || word === undefined) return false
  if (!database.lost) await sleep(CLOSING_MS)
  return database.lost !== undefined && !ENDS_OF_MANY.test(word)
}

main().catch((error) => fail(error))
