import type { BenchDatabase } from '../server.js'
import type { Workload } from './workload.js'

/** A queue with its workers, whose speed is measured in one database. */
export interface Queue {
  /** Installs itself; the database has the table effects. */
  install(database: BenchDatabase): Promise<void>
  /** Adds the tasks, however it does that fastest. */
  fill(work: Workload): Promise<void>
  /** A statement that adds one task, as its users do. */
  enqueueSql(taskSql: string): string
  /** Starts the workers; resolves when they are ready. */
  start(slots: number): Promise<void>
  /** Its process with the workers; undefined if it is not running. Errors: it left unasked. */
  pid(): number | undefined
  /** How many tasks are not finished, failed ones included. */
  unfinished(): Promise<number>
  /** Ends every process. */
  stop(): Promise<void>
}

/** A queue with certain settings; each measurement makes one anew. */
export interface QueueKind {
  /** such as `graphile-worker, defaults` */
  name: string
  make(): Queue
}
