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

/** What a claim came to; durations in milliseconds. */
export interface Claimed {
  claim: Claim | undefined
  /** without a claim: until something may be due; null: nothing waits at all */
  waitMs: number | null
  /** what a look at all that waits took */
  lookMs: number | null
  /** the task before it had a slot of a limited topic that it does not take over */
  leavesSlot: boolean
}

/** A row of background_queue.claim() or finish_and_claim() as text. */
export function readClaimed(fields: (string | null)[]): Claimed {
  const [id, token, sql, topic, mode, isolation, role, timeout, done, attempt, waited, most, look, left] =
    fields
  const toNumber = (text: string | null | undefined): number | null => (text == null ? null : Number(text))
  const [waitMs, lookMs, leavesSlot] = [toNumber(waited), toNumber(look), left === 't']
  if (id == null) return { claim: undefined, waitMs, lookMs, leavesSlot }
  const claim = {
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
    waitedMs: waitMs,
    maxTasksPerCommit: Number(most),
  }
  return { claim, waitMs: null, lookMs, leavesSlot }
}
