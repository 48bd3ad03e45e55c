import { type ChildProcess, fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { ConnectionTarget } from '../database/target.js'
import {
  type Backend,
  type FromWorker,
  type RunningTask,
  type ToWorker,
  WORKER_TARGET_ENV,
} from '../worker/ipc.js'

const ENTRY = fileURLToPath(new URL('../worker/entry.js', import.meta.url))

/** A lean heap: a worker holds one task's text and nothing of its results. */
const NODE_FLAGS = ['--max-semi-space-size=1', '--no-warnings']

/** How long the end of its session may take to reach a worker. */
const HEARS_WITHIN_MS = 2000

export interface WorkerProcessListener {
  onMessage(worker: WorkerProcess, message: FromWorker): void
  onExit(worker: WorkerProcess, code: number | null, signal: NodeJS.Signals | null): void
}

export type WorkerState = 'starting' | 'idle' | 'busy'

/** One worker's process as its supervisor knows it. */
export class WorkerProcess {
  readonly role: string
  readonly target: ConnectionTarget
  readonly process: ChildProcess
  id: bigint | null = null
  backend: Backend | undefined
  state: WorkerState = 'starting'
  task: RunningTask | undefined
  isStopping = false
  isReady = false
  /** it has asked for a task at least once */
  hasLooked = false
  hasExited = false
  /** it lived when the control connection was lost, and has not been heard of since */
  isDoubted = false
  idleSince = performance.now()
  exitReason = ''
  /** calls since its last word */
  unanswered = 0
  hasSpoken = false
  /** it was ended because it could not be reached, or could reach nothing */
  isUnresponsive = false
  private severedAt: number | undefined

  constructor(role: string, target: ConnectionTarget, listener: WorkerProcessListener) {
    this.role = role
    this.target = target
    this.process = fork(ENTRY, [], {
      execArgv: NODE_FLAGS,
      env: workerEnvironment(target),
      serialization: 'advanced',
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    })
    this.process.on('message', (messages) => {
      this.unanswered = 0
      this.hasSpoken = true
      for (const message of messages as FromWorker[]) listener.onMessage(this, message)
    })
    this.process.on('error', () => undefined)
    this.process.on('exit', (code, signal) => listener.onExit(this, code, signal))
  }

  get pid(): number {
    return this.process.pid ?? 0
  }

  send(message: ToWorker): void {
    if (this.process.connected) this.process.send(message, () => undefined)
  }

  /** Its answer is a message without content. */
  call(): void {
    this.unanswered++
    this.send({ type: 'call' })
  }

  /** SIGKILL also ends a process that is stopped. */
  killUnresponsive(seconds: number): void {
    this.isUnresponsive = true
    this.exitReason = `did not respond for ${seconds} s, so its process was killed`
    this.process.kill('SIGKILL')
  }

  /**
   * Its backend was found gone. Mostly it hears of that itself and leaves; where the network lost the news, it would
   * wait for minutes. What it holds is then nobody's fault.
   */
  sever(): void {
    this.severedAt ??= performance.now()
    if (performance.now() - this.severedAt < HEARS_WITHIN_MS) return
    this.isUnresponsive = true
    this.exitReason = 'had lost its session and did not know, so its process was killed'
    this.process.kill('SIGKILL')
  }

  stop(): void {
    this.isStopping = true
    this.send({ type: 'stop' })
  }

  kill(): void {
    this.isStopping = true
    this.process.kill('SIGKILL')
  }
}

/** Only the credentials of the worker's own role reach its environment. */
function workerEnvironment({ url: _, ...target }: ConnectionTarget): NodeJS.ProcessEnv {
  const { PGBQ_DATABASE_URL: _a, PGBQ_DIRECT_URL: _b, DATABASE_URL: _c, ...env } = process.env
  const { NODE_OPTIONS: _d, PGPASSWORD: _e, ...kept } = env
  return { ...kept, [WORKER_TARGET_ENV]: JSON.stringify(target) }
}
