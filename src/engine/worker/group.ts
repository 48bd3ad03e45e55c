import type { Step, StepResult } from '../database/pipeline.js'
import { isSeveralCommands, readTag, type ServerError, type StatementResult } from '../database/statement.js'
import { type Claim, toNextClaim } from './claim.js'
import { AgainError } from './committing.js'
import type { Execution, Successor } from './executor.js'
import type { GroupPace } from './group-pace.js'
import type { Followed, RunningTask } from './ipc.js'
import { Notices } from './notices.js'
import { looksLikeSeveral, mayControlTransaction, parseStatements } from './parser.js'
import type { WorkerSession } from './session.js'
import { AS_OURSELVES, CHECK } from './session-sql.js'
import { transactionControl } from './task-error.js'

const TAKE = 'select * from background_queue.take($1, $2, $3, $4, $5)'
const FINISH = 'select * from background_queue.finish_and_claim($1, $2, $3, $4, $5, $6, $7, $8)'

/** The checks that would wait for the commit, now; what they do is undone, and done at the commit. */
const TRIAL: Step[] = ['savepoint c', 'set constraints all immediate', 'rollback to c', 'release c'].map(
  (text) => ({ text }),
)
/** An error behind no more answers than these is of the task itself or of its constraints. */
const OF_THE_TASK = 2
const PASS: Step[] = ['savepoint m', 'select background_queue.pass()'].map((text) => ({ text }))
const RUN_EACH = 'select * from background_queue.run_each($1, $2)'
/** The command tags of those that run_each() may run, which tells none: those whose tag is surely that of their first word. */
const TAGS: Record<string, string> = {
  insert: 'INSERT',
  update: 'UPDATE',
  delete: 'DELETE',
  select: 'SELECT',
  values: 'SELECT',
}
const FIRST_WORD = /^\s*(insert|update|delete|select|values)\b/i
/** No task of several chooses how all are committed. */
const COMMIT_AS_USUAL: Step = { text: 'set local synchronous_commit to default' }
const RELEASE: Step = { text: 'release m' }
const CLOCK: Step = { text: 'select extract(epoch from pg_catalog.clock_timestamp())' }

/** A task that runs in the transaction of the one before it. */
interface Follower {
  task: RunningTask
  sql: string
  notices: Notices
}

/** What followers have come to; instants of the server in seconds. */
interface Run {
  done: { follower: Follower; startedAt: number; endedAt: number | null; result: StatementResult }[]
  /** the one behind the last of `done` failed, and what it did is to be undone */
  isCutOff: boolean
}

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
  const isCall = !successor.pace.isHeard(claim.topic) && followers.every(({ sql }) => FIRST_WORD.test(sql))
  const run = isCall
    ? await followInOneCall(session, followers, hasDeferrable, () => successor.pace.hear(claim.topic))
    : await follow(session, followers, hasDeferrable)
  const next = await finish(session, claim, result, run, successor)
  successor.pace.note(claim.topic, (performance.now() - startedAt) / (1 + run.done.length))
  return { ...result, durationMs, followed: tell(run), ...(next ? { next: toNextClaim(next) } : {}) }
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
  session.noteChecks(query.results)
  const result = toResult(query.results[0]!)
  refuseControl(session, result)
  const rows = query.results.at(-1)!.rows
  return [
    result,
    await beforeTheFirstOfItsOwn(rows.map((row) => toFollower(row, topic))),
    rows[0]?.[3] === 't',
  ]
}

function toFollower([id, sql, waited]: (string | null)[], topic: string | null): Follower {
  const waitedMs = Number(waited)
  const task = { id: BigInt(id!), token: '', topic, attempt: 1, timeoutInSec: null, waitedMs }
  const notices = new Notices()
  notices.begin(task)
  return { task, sql: sql!, notices }
}

/** Those before the first that has to run by itself: their order is kept. */
async function beforeTheFirstOfItsOwn(followers: Follower[]): Promise<Follower[]> {
  for (const [n, { sql }] of followers.entries()) if (!(await isPlain(sql))) return followers.slice(0, n)
  return followers
}

async function follow(session: WorkerSession, followers: Follower[], hasDeferrable: boolean): Promise<Run> {
  if (followers.length === 0) return { done: [], isCutOff: false }
  const around = hasDeferrable ? [...TRIAL, RELEASE] : [RELEASE]
  const steps = followers.flatMap(({ sql }) => [...PASS, { text: sql, isTask: true }, ...around])
  const size = PASS.length + 1 + around.length
  const query = session.start([...steps, CLOCK])
  const current = (): Follower =>
    followers[Math.min(Math.floor(query.results.length / size), followers.length - 1)]!
  let isCutOff = false
  try {
    await session.listening(query.done, () => current().notices)
  } catch (error) {
    if (session.database.lost) throw error
    isCutOff = true
  }
  const instant = (at: number): number | null => toNumber(query.results[at]?.rows[0]?.[0])
  const done = followers.slice(0, Math.floor(query.results.length / size)).map((follower, n) => ({
    follower,
    startedAt: instant(n * size + 1)!,
    endedAt: instant((n + 1) * size + (n + 1 < followers.length ? 1 : 0)),
    result: toResult(query.results[n * size + PASS.length]!),
  }))
  refuseControl(session, done.at(-1)?.result)
  return { done, isCutOff }
}

/** As few messages as can be; what a task says then is nobody's, so it is taken back, and goes the other way. */
async function followInOneCall(
  session: WorkerSession,
  followers: Follower[],
  hasDeferrable: boolean,
  onHeard: () => void,
): Promise<Run> {
  if (followers.length === 0) return { done: [], isCutOff: false }
  const texts = followers.map(({ sql }) => sql)
  const call = { text: RUN_EACH, values: [texts, hasDeferrable] }
  const query = session.start([{ text: 'savepoint m' }, call, RELEASE])
  const { notices } = followers[0]!
  try {
    await session.listening(query.done, () => notices)
  } catch (error) {
    if (session.database.lost) throw error
    return { done: [], isCutOff: true }
  }
  if (notices.mark > 0) {
    onHeard()
    throw new AgainError()
  }
  const [rows, instants] = query.results[1]!.rows[0]!.map(toNumbers)
  const done = rows!.map((count, n) => {
    const follower = followers[n]!
    const tag = TAGS[FIRST_WORD.exec(follower.sql)![1]!.toLowerCase()]!
    return { follower, startedAt: instants![n]!, endedAt: instants![n + 1]!, result: { tag, rows: count } }
  })
  return { done, isCutOff: false }
}

async function finish(
  session: WorkerSession,
  { id, token }: Claim,
  first: StatementResult,
  { done, isCutOff }: Run,
  { workerId, secret, isNear }: Successor,
): Promise<(string | null)[] | undefined> {
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
  const before = [...(isCutOff ? [{ text: 'rollback to m' }] : []), COMMIT_AS_USUAL, ...CHECK]
  try {
    return await session.commitLastWith(FINISH, values, before)
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

/** An array of numbers as text. */
const toNumbers = (text: string | null): number[] =>
  text === null || text === '{}' ? [] : text.slice(1, -1).split(',').map(Number)

const toNumber = (text: string | null | undefined): number | null => (text == null ? null : Number(text))

const toResult = ({ tag }: StepResult): StatementResult =>
  tag === null ? { tag: null, rows: null } : readTag(tag)

/** A task that ended the transaction by itself, in a way that no parser saw. */
function refuseControl(session: WorkerSession, result: StatementResult | undefined): void {
  if (!session.isInTransaction) throw transactionControl(result?.tag ?? '')
}
