import type { RunningTask, TaskError } from './worker/ipc.js'

/** What a supervisor tells of; the command words it. `time` is added where it is printed. */
export type QueueEvent =
  | { event: 'ready'; supervisorId: bigint; slots: number; warm: number; database: string }
  /** where this supervisor's metrics are */
  | { event: 'metrics'; url: string | null; file: string | null }
  | { event: 'claimed'; task: RunningTask; workerId: bigint }
  | {
      event: 'finished'
      task: RunningTask
      workerId: bigint
      durationMs: number
      rows: number | null
      tag: string | null
    }
  | {
      event: 'failed' | 'retrying' | 'cancelled'
      task: RunningTask
      workerId: bigint
      durationMs: number
      error?: TaskError
    }
  | { event: 'released'; task: RunningTask; workerId: bigint; durationMs: number }
  | { event: 'rescued'; taskIds: bigint[]; reason: string }
  | { event: 'worker_started'; workerId: bigint; pid: number; role: string }
  | {
      event: 'worker_gone'
      workerId: bigint | null
      pid: number
      role: string
      reason: string
      isExpected: boolean
    }
  | { event: 'role_refused'; role: string; reason: string }
  | { event: 'warning'; message: string }
  | { event: 'database_lost'; reason: string }
  | { event: 'database_back'; database: string }
  | { event: 'stopping'; reason: string }
  | { event: 'left'; reason: string; topic: string | null; count: number }
  | { event: 'stopped' }

/**
 * An error as a log may have it: the statements in its context, and the rest of a text that the server found no end
 * of, are on the task's row alone.
 */
export function withoutSql({ context: _, message, ...error }: TaskError): TaskError {
  return { ...error, message: message.replace(/( at or near )"(?![\w$]+"$|[^\w"']{1,3}"$).*"$/s, '$1…') }
}

export type Emit = (event: QueueEvent) => void
