import type { BackendKey } from '../database/database.js'

/** What a supervisor tells a worker's process. */
export type ToWorker =
  | { type: 'register'; workerId: bigint; secret: string }
  | { type: 'wake' }
  /** to be answered with no message at all: whether the process runs */
  | { type: 'call' }
  /** the lines that were sent are kept, or given up */
  | { type: 'noted' }
  /** claim nothing more, end what runs, leave */
  | { type: 'stop' }

/** What a worker's process tells its supervisor. */
export type FromWorker =
  | { type: 'connected'; backend: Backend }
  | { type: 'ready' }
  /** isNext: in the commit of the last task: it leaves no slot to others, and is no news of more */
  | { type: 'claimed'; task: RunningTask; isNext: boolean }
  | { type: 'ended'; task: RunningTask; ending: Ending; lines?: LogLine[] }
  /** tasks that ran in the transaction of the one that ended last */
  | { type: 'followed'; runs: Followed[] }
  /** what a task said, to be kept at once and answered with `noted` */
  | { type: 'lines'; task: RunningTask; lines: LogLine[] }
  /** nothing to claim; waitMs: until something may be, null: nothing waits */
  | { type: 'idle'; waitMs: number | null }
  | { type: 'refused'; code: string; message: string }

/** A run that began and ended within another's transaction. */
export interface Followed {
  task: RunningTask
  ending: Ending
  lines?: LogLine[]
}

export interface Backend extends BackendKey {
  /** pg_backend_pid(), not what the connection was told: a pooler lies */
  pid: number
  startedAt: string
  serverStartedAt: string
}

export interface RunningTask {
  id: bigint
  token: string
  topic: string | null
  attempt: number
  timeoutInSec: number | null
  /** from when it was due to its claim */
  waitedMs: number | null
}

/** A line of a task's log: a notice, or (RESULT) how one statement of several ended. */
export interface LogLine {
  /** from 1, counted through the run; a leap tells of lines that were left out */
  seq: number
  /** of this host's clock, which the supervisor shares */
  at: number
  severity: string
  code?: string | undefined
  message: string
  detail?: string | undefined
  hint?: string | undefined
  statement?: number | undefined
  rows?: number | null
}

export interface Ending {
  state: 'finished' | 'failed' | 'retrying' | 'cancelled' | 'pending' | 'lost'
  durationMs: number
  rows: number | null
  tag: string | null
  error?: TaskError
}

/** An attempt's error as the server reported it. `final` forbids a retry. */
export interface TaskError {
  sqlstate?: string | undefined
  message: string
  detail?: string | undefined
  hint?: string | undefined
  context?: string | undefined
  position?: string | undefined
  final?: boolean
}

/** The environment in which a worker's process finds where to connect; never on a command line. */
export const WORKER_TARGET_ENV = 'PGBQ_WORKER_TARGET'

/**
 * Exit codes of a worker's process: the connection is gone, or of no use any more; the server said that it ends
 * the session; the login was refused.
 */
export const EXIT_CONNECTION_LOST = 75
export const EXIT_SESSION_ENDED = 76
export const EXIT_REFUSED = 77
