/** A task in this worker's hands. */
export interface Claim {
  id: bigint
  token: string
  sql: string
  topic: string | null
  mode: 'auto' | 'transaction' | 'autocommit'
  isolation: string | null
  /** the role to become, where the worker serves several by SET ROLE */
  role: string
  timeoutInSec: number | null
  statementsDone: number
  attempt: number
  /** for how long it was due */
  waitedMs: number | null
  /** how many tasks may end in one transaction with it */
  maxTasksPerCommit: number
}

/** A row of background_queue.claim(). */
export interface ClaimRow extends Record<string, unknown> {
  task_id: bigint | null
  token: string
  sql_statement: string
  topic: string | null
  mode: Claim['mode']
  isolation: string | null
  role: string
  timeout_in_sec: number | null
  statements_done: number
  attempt: number
  wait_ms: number | null
  max_tasks_per_commit: number
  look_ms: number | null
}

export function toClaim(row: ClaimRow): Claim | undefined {
  if (row.task_id === null) return undefined
  return {
    id: row.task_id,
    token: row.token,
    sql: row.sql_statement,
    topic: row.topic,
    mode: row.mode,
    isolation: row.isolation,
    role: row.role,
    timeoutInSec: row.timeout_in_sec,
    statementsDone: row.statements_done,
    attempt: row.attempt,
    waitedMs: row.wait_ms ?? null,
    maxTasksPerCommit: row.max_tasks_per_commit,
  }
}

/** A row of background_queue.finish_and_claim() as text, with the milliseconds that a look at all that waits took. */
export interface NextClaim {
  claim: Claim | undefined
  lookMs: number | null
  /** nothing waits at all */
  isEmpty?: boolean
}

export function toNextClaim(fields: (string | null)[]): NextClaim {
  const [id, token, sql, topic, mode, isolation, role, timeout, done, attempt, waited, most, look] = fields
  const toNumber = (text: string | null | undefined): number | null => (text == null ? null : Number(text))
  const lookMs = toNumber(look)
  if (id == null) return { claim: undefined, lookMs, isEmpty: waited == null }
  return {
    claim: {
      id: BigInt(id),
      token: token!,
      sql: sql!,
      topic: topic ?? null,
      mode: mode as Claim['mode'],
      isolation: isolation ?? null,
      role: role!,
      timeoutInSec: toNumber(timeout),
      statementsDone: Number(done),
      attempt: Number(attempt),
      waitedMs: toNumber(waited),
      maxTasksPerCommit: Number(most),
    },
    lookMs,
  }
}
