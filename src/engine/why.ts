import type { Database } from './database/database.js'
import { isoInstant } from './database/instant.js'
import { QueueError } from './errors.js'
import type { EvidenceOf, Reason } from './why-evidence.js'
import { sayWhy } from './why-words.js'

/** What background_queue.why() found. */
export interface Facts<R extends Reason = Reason> {
  id: bigint
  state: string
  topic: string | null
  role: string
  reason: R
  evidence: EvidenceOf[R]
}

/** Why a task does not run. `fix`: a command that changes it, null where there is nothing to do but wait. */
export interface Why {
  id: bigint
  state: string
  reason: Reason
  message: string
  evidence: EvidenceOf[Reason]
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
  const evidence = exact(facts.evidence) as EvidenceOf[Reason]
  const { state, reason } = facts
  const { message, fix } = sayWhy({ ...facts, id, evidence })
  return { id, state, reason, message, evidence, fix }
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
