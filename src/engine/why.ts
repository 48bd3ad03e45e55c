import type { Database } from './database/database.js'
import { isoInstant } from './database/instant.js'
import { QueueError } from './errors.js'
import { sayWhy } from './why-words.js'

export type Reason =
  | 'ahead'
  | 'global-limit'
  | 'topic-limit'
  | 'delay'
  | 'not-due'
  | 'retry-due'
  | 'paused'
  | 'no-supervisor'
  | 'no-worker-for-topic'
  | 'no-worker-for-role'
  | 'lock'
  | 'running'
  | 'closed'

/** A session that holds what another waits for; pid 0 is a prepared transaction. */
export interface Holder {
  pid: number
  role: string | null
  application_name: string | null
  state: string | null
  since: string | null
  task_id: bigint | null
}

/** What a reason rests on: each has some of these. */
export interface Evidence {
  run_at?: string
  retry_count?: number
  retries?: number
  errors?: string | null
  whole_queue?: boolean
  role?: string
  cause?: 'renamed' | 'nologin' | 'refused' | null
  is_known?: boolean
  /** 0 where none lives */
  supervisors?: { host: string; pid: number; topics: string[] | null }[] | 0
  last_seen_at?: string | null
  limit?: number
  running?: number
  tasks?: { task_id: bigint; since: string }[]
  delay_in_sec?: number
  resting?: number
  until?: string | null
  /** counted up to 1000; `more` says that it is more */
  ahead?: number
  more?: boolean
  workers?: number
  busy?: number
  started_at?: string | null
  closed_at?: string
  attempt?: number
  worker?: { id?: bigint; host: string; pid: number; backend_pid: number } | null
  worker_is_gone?: boolean
  end_requested?: string | null
  blocked_by?: Holder[]
  waits_for?: { lock: string; mode: string; relation: string | null } | null
}

/** What background_queue.why() found. Ids are bigint, instants ISO 8601 in UTC. */
export interface Facts {
  id: bigint
  state: string
  topic: string | null
  role: string
  reason: Reason
  evidence: Evidence
}

/** Why a task does not run. `fix`: a command that changes it, null where there is nothing to do but wait. */
export interface Why {
  id: bigint
  state: string
  reason: Reason
  message: string
  evidence: Evidence
  fix: string | null
}

/** The one reason. Errors: UNKNOWN_TASK, also for a task that this role may not see; NOT_ALLOWED. */
export async function explainTask(database: Database, id: bigint): Promise<Why> {
  const { facts } = await database.one<{ facts: Omit<Facts, 'id'> | null }>(
    'insert into background_queue.questions (task_id) values ($1) returning facts',
    [id],
  )
  if (facts === null) {
    throw new QueueError('UNKNOWN_TASK', `No task has the id ${id}`, { hint: 'pgbq status --limit 20' })
  }
  const evidence = exact(facts.evidence) as Evidence
  const { state, reason } = facts
  return { id, state, reason, ...sayWhy({ ...facts, id, evidence }) }
}

const IDS = ['id', 'task_id']
const INSTANTS = ['since', 'until', 'run_at', 'started_at', 'closed_at', 'last_seen_at']

/** JSON of the server has neither 64-bit integers nor our form of instants. */
function exact(value: unknown, key = ''): unknown {
  if (Array.isArray(value)) return value.map((entry) => exact(entry))
  if (typeof value === 'string' && IDS.includes(key)) return BigInt(value)
  if (typeof value === 'string' && INSTANTS.includes(key)) return isoInstant(value)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([name, entry]) => [name, exact(entry, name)]))
}
