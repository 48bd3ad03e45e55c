import type { Database } from '../database/database.js'
import { inSchema, namedQuery } from '../sql-files.js'
import type { StateCounts } from '../status.js'

export type State = keyof StateCounts

/** What a look is to bring besides the counts. */
export interface LookRequest {
  /** topics whose tasks are wanted ('': without topic; none: of all); undefined: no tasks */
  topics?: string[] | undefined
  states?: string[] | undefined
  /** one task in full */
  id?: string | undefined
}

export interface WatchedWorker {
  id: string
  host: string
  pid: number
  /** the task it runs */
  task: string | null
  topic: string | null
  /** for how long it runs that, or is idle */
  sec: number
  /** cancel, timeout or release, where that was asked */
  ends: string | null
  sql: string | null
}

export interface WatchedTask {
  id: string
  topic: string | null
  state: State
  /** since its start, the time it was or will be due (negative), or its end */
  sec: number
  took: number | null
  sql: string
}

export interface TaskInFull {
  id: string
  state: State
  /** its beginning */
  sql: string
  bytes: number
  errors: string | null
  row: Record<string, unknown>
  attempts: { ended_at: string; outcome: string; sqlstate: string | null; message: string | null }[]
}

export interface Count {
  topic: string | null
  state: State
  count: number
  /** for how long its oldest due task has waited */
  due: number | null
}

/** The answer of the query "watch"; instants are seconds of the server's clock since 1970. */
export interface Look {
  now: number
  blocks: number
  isWaitingWhole: boolean
  /** of waiting and running tasks */
  counts: Count[]
  /** of all tasks, in some of the blocks */
  sample: Count[]
  /** where not all that wait were counted: the oldest due of each role, lane and priority, by topic */
  oldest: { topic: string | null; due: number }[]
  closings: { second: number; topic: string | null; state: State; count: number }[]
  supervisors: number
  workers: WatchedWorker[]
  lanes: { lane: string; max_running: number | null; delay_in_sec: number | null; paused: boolean | null }[]
  tasks: WatchedTask[]
  task: TaskInFull | null
}

/**
 * Plans that stop early whatever the statistics say, and never cost the server more than one process and 5 s. Behind a
 * pooler that takes no options the looks are as right, and may be slower.
 */
export const LOOK_SETTINGS = {
  enable_seqscan: 'off',
  enable_bitmapscan: 'off',
  jit: 'off',
  max_parallel_workers_per_gather: '0',
  statement_timeout: '5000',
}

/** One look: of closings in the last `sec` seconds, and counts in `percent` of the table's blocks. */
export async function takeLook(
  database: Database,
  schema: string,
  request: LookRequest,
  { sec, percent }: { sec: number; percent: number },
): Promise<Look> {
  const { look } = await database.one<{ look: Look }>(inSchema(namedQuery('watch'), schema), [
    sec,
    request.topics ?? null,
    request.states ?? null,
    request.id ?? null,
    percent,
  ])
  return look
}
