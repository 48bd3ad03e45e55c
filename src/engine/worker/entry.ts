/** The program of a worker's process, forked by the supervisor. It loads nothing but `pg` and the loop. */
import type { ConnectionTarget } from '../database/target.js'
import { QueueError } from '../errors.js'
import {
  EXIT_CONNECTION_LOST,
  EXIT_REFUSED,
  type FromWorker,
  type ToWorker,
  WORKER_TARGET_ENV,
} from './ipc.js'
import { WorkerSession } from './session.js'
import { Worker } from './worker.js'

interface WorkerTarget {
  target: ConnectionTarget
  setsRole: boolean
}

function report(message: FromWorker): void {
  if (process.connected) process.send!(message)
}

async function main(): Promise<void> {
  const { target, setsRole } = JSON.parse(process.env[WORKER_TARGET_ENV]!) as WorkerTarget
  delete process.env[WORKER_TARGET_ENV]
  let worker: Worker | undefined
  process.on('SIGINT', () => undefined)
  process.on('SIGHUP', () => undefined)
  process.on('SIGTERM', () => stop())
  process.on('disconnect', () => (worker ? void worker.abandon() : process.exit(0)))
  const stop = (): void => {
    if (!worker) process.exit(0)
    worker.stop()
  }
  const begin = (workerId: bigint, secret: string): void => {
    worker = new Worker(session, target, { workerId, secret, setsRole, report })
    report({ type: 'ready' })
    worker.work().then(() => leave(session), fail)
  }
  process.on('message', (message: ToWorker) => {
    if (message.type === 'register') begin(message.workerId, message.secret)
    else if (message.type === 'wake') worker?.wake()
    else stop()
  })
  const session = await WorkerSession.open(target)
  report({ type: 'connected', backend: await session.identify() })
}

async function leave(session: WorkerSession): Promise<void> {
  await session.database.close()
  process.exit(0)
}

function fail(error: unknown): void {
  if (
    error instanceof QueueError &&
    ['LOGIN_REFUSED', 'DATABASE_MISSING', 'NOT_INSTALLED', 'NOT_ALLOWED'].includes(error.code)
  ) {
    report({ type: 'refused', code: error.code, message: error.message })
    process.exit(EXIT_REFUSED)
  }
  report({
    type: 'refused',
    code: (error as { code?: string }).code ?? '',
    message: (error as Error).message,
  })
  process.exit(EXIT_CONNECTION_LOST)
}

main().catch(fail)
