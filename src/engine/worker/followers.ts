import type { Step, StepResult } from '../database/pipeline.js'
import { readTag, type StatementResult } from '../database/statement.js'
import { AgainError } from './committing.js'
import type { GroupPace } from './group-pace.js'
import type { RunningTask } from './ipc.js'
import { Notices } from './notices.js'
import type { WorkerSession } from './session.js'
import { transactionControl } from './task-error.js'

/** A task that runs in the transaction of the one before it. */
export interface Follower {
  task: RunningTask
  sql: string
  notices: Notices
}

/** What followers have come to; instants of the server in seconds. */
export interface Run {
  done: { follower: Follower; startedAt: number; endedAt: number | null; result: StatementResult }[]
  /** the one behind the last of `done` failed, and what it did is to be undone */
  isCutOff: boolean
}

/** The checks that would wait for the commit, now; what they do is undone, and done at the commit. */
export const TRIAL: Step[] = [
  'savepoint c',
  'set constraints all immediate',
  'rollback to c',
  'release c',
].map((text) => ({ text }))
const PASS: Step[] = ['savepoint m', 'select background_queue.pass()'].map((text) => ({ text }))
const RELEASE: Step = { text: 'release m' }
const CLOCK: Step = { text: 'select extract(epoch from pg_catalog.clock_timestamp())' }

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

/** From a row of background_queue.take() as text. */
export function toFollower([id, sql, waited]: (string | null)[], topic: string | null): Follower {
  const waitedMs = Number(waited)
  const task = { id: BigInt(id!), token: '', topic, attempt: 1, timeoutInSec: null, waitedMs }
  const notices = new Notices()
  notices.begin(task)
  return { task, sql: sql!, notices }
}

/**
 * Runs them in the open transaction, each in a savepoint and in a clean session, up to the first that fails. Throws
 * AgainError where it is not to be known what one said.
 */
export async function follow(
  session: WorkerSession,
  followers: Follower[],
  hasDeferrable: boolean,
  pace: GroupPace,
): Promise<Run> {
  const [first] = followers
  if (!first) return { done: [], isCutOff: false }
  const isForOneCall = followers.every(({ sql }) => FIRST_WORD.test(sql)) && !pace.isHeard(first.task.topic)
  return isForOneCall
    ? inOneCall(session, followers, hasDeferrable, pace)
    : oneByOne(session, followers, hasDeferrable)
}

async function oneByOne(session: WorkerSession, followers: Follower[], hasDeferrable: boolean): Promise<Run> {
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
async function inOneCall(
  session: WorkerSession,
  followers: Follower[],
  hasDeferrable: boolean,
  pace: GroupPace,
): Promise<Run> {
  const texts = followers.map(({ sql }) => sql)
  const call = { text: RUN_EACH, values: [texts, hasDeferrable] }
  const query = session.start([{ text: 'savepoint m' }, call, RELEASE])
  const { task, notices } = followers[0]!
  try {
    await session.listening(query.done, () => notices)
  } catch (error) {
    if (session.database.lost) throw error
    return { done: [], isCutOff: true }
  }
  if (notices.mark > 0) {
    pace.hear(task.topic)
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

/** An array of numbers as text. */
const toNumbers = (text: string | null): number[] =>
  text === null || text === '{}' ? [] : text.slice(1, -1).split(',').map(Number)

const toNumber = (text: string | null | undefined): number | null => (text == null ? null : Number(text))

export const toResult = ({ tag }: StepResult): StatementResult =>
  tag === null ? { tag: null, rows: null } : readTag(tag)

/** A task that ended the transaction by itself, in a way that no parser saw. */
export function refuseControl(session: WorkerSession, result: StatementResult | undefined): void {
  if (!session.isInTransaction) throw transactionControl(result?.tag ?? '')
}
