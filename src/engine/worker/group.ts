import { isSeveralCommands, type ServerError, type StatementResult } from '../database/statement.js'
import { type Claim, readClaimed } from './claim.js'
import { AgainError } from './committing.js'
import type { Execution, Successor } from './executor.js'
import { type Follower, follow, type Run, refuseControl, TRIAL, toFollower, toResult } from './followers.js'
import type { GroupPace } from './group-pace.js'
import type { Followed } from './ipc.js'
import { looksLikeSeveral, mayControlTransaction, parseStatements } from './parser.js'
import type { WorkerSession } from './session.js'
import { AS_OURSELVES, CHECK_SCRIPT } from './session-sql.js'

const TAKE = 'select * from background_queue.take($1, $2, $3, $4, $5)'

/** An error behind no more answers than these is of the task itself or of its constraints. */
const OF_THE_TASK = 2
/** No task of several chooses how all are committed. */
const COMMIT_AS_USUAL = 'set local synchronous_commit to default'

/** Whether a text is one statement that neither reads from the connection nor ends the transaction. */
async function isPlain(sql: string): Promise<boolean> {
  if (/copy/i.test(sql)) return false
  if (!looksLikeSeveral(sql) && !mayControlTransaction(sql)) return true
  const statements = await parseStatements(sql)
  return statements?.length === 1 && statements[0]!.kind !== 'TransactionStmt'
}

/** How many tasks may follow this one in its transaction; 0: it runs by itself. */
export async function roomBehind(session: WorkerSession, claim: Claim, pace: GroupPace): Promise<number> {
  const room = Math.min(claim.maxTasksPerCommit - 1, pace.room(claim.topic))
  const mayLead = claim.isolation === null && session.canShare(claim.role)
  return room > 0 && mayLead && (await isPlain(claim.sql)) ? room : 0
}

/**
 * Runs a task, and behind it in the same transaction up to `room` others, each in a savepoint; all are finished in one
 * statement. One that fails or takes too long has not run: its row is free again with the commit, and it is the first
 * that may be claimed. Throws what the first task threw; AgainError where the transaction came to nothing for another reason.
 */
export async function runGroup(
  session: WorkerSession,
  claim: Claim,
  successor: Successor,
  room: number,
): Promise<Execution> {
  const startedAt = performance.now()
  const [result, followers, hasDeferrable] = await lead(session, claim, successor, room)
  const durationMs = performance.now() - startedAt
  await session.notices.settle()
  const run = await follow(session, followers, hasDeferrable, successor.pace)
  const next = await finish(session, claim, result, run, successor)
  successor.pace.note(claim.topic, (performance.now() - startedAt) / (1 + run.done.length))
  return { ...result, durationMs, followed: tell(run), next: readClaimed(next) }
}

/** The first task, and behind it the rows of those that may follow. */
async function lead(
  session: WorkerSession,
  { id, token, sql, topic }: Claim,
  { workerId, secret }: Successor,
  room: number,
): Promise<[StatementResult, Follower[], boolean]> {
  const steps = [
    { text: sql, isTask: true },
    ...TRIAL,
    ...AS_OURSELVES,
    { text: TAKE, values: [id, token, workerId, secret, room] },
  ]
  const query = session.start(steps)
  try {
    await session.listening(query.done)
  } catch (error) {
    if (query.results.length <= OF_THE_TASK && !isSeveralCommands(error as ServerError)) throw error
    throw new AgainError('', { cause: error })
  }
  const result = toResult(query.results[0]!)
  refuseControl(session, result)
  const rows = query.results.at(-1)!.rows
  return [
    result,
    await beforeTheFirstOfItsOwn(rows.map((row) => toFollower(row, topic))),
    rows[0]?.[3] === 't',
  ]
}

/** Those before the first that has to run by itself: their order is kept. */
async function beforeTheFirstOfItsOwn(followers: Follower[]): Promise<Follower[]> {
  for (const [n, { sql }] of followers.entries()) if (!(await isPlain(sql))) return followers.slice(0, n)
  return followers
}

async function finish(
  session: WorkerSession,
  { id, token }: Claim,
  first: StatementResult,
  { done, isCutOff }: Run,
  { workerId, secret, isNear }: Successor,
): Promise<(string | null)[]> {
  const results = [first, ...done.map(({ result }) => result)]
  const values = [
    [id, ...done.map(({ follower }) => follower.task.id)],
    token,
    results.map(({ rows }) => rows),
    results.map(({ tag }) => tag),
    [null, ...done.map(({ startedAt }) => startedAt), done.at(-1)?.endedAt ?? null],
    workerId,
    secret,
    isNear(),
  ]
  const before = `${isCutOff ? 'rollback to m; ' : ''}${COMMIT_AS_USUAL}; ${CHECK_SCRIPT}`
  try {
    return await session.finish(values, before)
  } catch (error) {
    const { code } = error as { code?: string }
    if (session.database.lost || code === 'CLAIM_LOST' || code === 'END_REQUESTED') throw error
    throw new AgainError('', { cause: error })
  }
}

function tell({ done }: Run): Followed[] {
  return done.map(({ follower: { task, notices }, startedAt, endedAt, result }) => {
    const durationMs = ((endedAt ?? startedAt) - startedAt) * 1000
    return { task, ending: { state: 'finished', durationMs, ...result }, ...notices.end() }
  })
}
