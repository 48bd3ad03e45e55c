import type { LedgerTask, Run } from '../ledger.js'
import type { BenchDatabase } from '../server.js'

/** The numbers of tasks that a queue's own books hold as not finished. */
export interface Books {
  /** waiting or running, whether or not anybody is at it */
  open: number[]
  /** given up */
  failed: number[]
}

/** A queue under test, with its default settings and a number of worker processes that run one task each. */
export interface System {
  readonly name: string
  readonly version: string
  /** how long a killed worker's task stays taken by default, by the system's own documentation */
  readonly documented: string
  /** Installs the queue in a database that has the ledger, and adds the tasks. */
  setUp(database: BenchDatabase, tasks: LedgerTask[]): Promise<void>
  /** Starts the workers; resolves when they are ready. */
  start(workers: number): Promise<void>
  /** The process that is at this run; undefined if it is none of the workers'. Errors: a worker that left unasked. */
  processOf(run: Run): Promise<number | undefined>
  /** Sends SIGKILL to a worker's process; a fresh one takes its place at once. */
  kill(pid: number): void
  books(): Promise<Books>
  /** Ends every process. */
  stop(): Promise<void>
}
