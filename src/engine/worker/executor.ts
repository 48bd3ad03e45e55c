import { isSeveralCommands, type ServerError, type StatementResult } from '../database/statement.js'
import { type Claim, type Claimed, readClaimed } from './claim.js'
import { repeat, settle } from './committing.js'
import { roomBehind, runGroup } from './group.js'
import type { GroupPace } from './group-pace.js'
import type { Followed } from './ipc.js'
import { mustRunOutside, OutsideOnlyError, runOutside } from './outside.js'
import { ours } from './own-statement.js'
import { looksLikeSeveral, parseStatements, runsOutsideTransaction, type Statement } from './parser.js'
import type { WorkerSession } from './session.js'
import { located, refuseTransactionControl, transactionControl } from './task-error.js'

/** Tags of commands that end or open a transaction; each names what the task's text itself was. */
const TRANSACTION_TAGS = new Set([
  'BEGIN',
  'START TRANSACTION',
  'COMMIT',
  'ROLLBACK',
  'PREPARE TRANSACTION',
  'SAVEPOINT',
  'RELEASE',
])

/** How a task ended well, and what its commit claimed besides. */
export interface Execution extends StatementResult {
  next?: Claimed
  /** what ran in its transaction behind it, and how long it took by itself */
  followed?: Followed[]
  durationMs?: number
}

/** The worker for which a commit may claim the next task. */
export interface Successor {
  workerId: bigint
  secret: string
  pace: GroupPace
  /** asked just before the commit: null: nothing more is wanted; true: look only behind this task */
  isNear(): boolean | null
}

/**
 * Runs a task and finishes it. Throws what the task's SQL threw, with nothing of it committed, except for SQL
 * that PostgreSQL cannot run in a transaction: that is run statement by statement, each recorded when it is done.
 */
export async function execute(
  session: WorkerSession,
  claim: Claim,
  successor?: Successor,
): Promise<Execution> {
  await refuseTransactionControl(claim)
  await session.become(claim.role)
  if (claim.mode === 'autocommit' || claim.statementsDone > 0) return runOutside(session, claim)
  try {
    return await repeat(session, async (isAgain) => {
      if (isAgain) await ours(renew(session, claim))
      return runInside(session, claim, successor, isAgain)
    })
  } catch (error) {
    if (session.database.lost) throw error
    session.notices.hold()
    if (session.isInTransaction) await session.rollback()
    if (claim.mode !== 'auto' || !(await mustRunOutside(error as ServerError, claim))) throw error
    await ours(renew(session, claim))
    return runOutside(session, claim)
  }
}

async function renew(session: WorkerSession, claim: Claim): Promise<void> {
  session.notices.again()
  await session.clean()
  await session.become(claim.role)
}

/** The task's SQL and its finish in one transaction. */
async function runInside(
  session: WorkerSession,
  claim: Claim,
  successor: Successor | undefined,
  isAgain: boolean,
): Promise<Execution> {
  await ours(session.begin(claim.isolation))
  const room = successor && !isAgain ? await roomBehind(session, claim, successor.pace) : 0
  if (successor && room > 0) return runGroup(session, claim, successor, room)
  const result = await runWhole(session, claim)
  await session.notices.settle()
  if (TRANSACTION_TAGS.has(result.tag ?? '') || !session.isInTransaction)
    throw transactionControl(result.tag ?? '')
  return { ...result, ...(await finish(session, claim, result, successor)) }
}

/** Where the text looks like one statement, the server decides; a wrong guess costs a round trip and a line in its log. */
async function runWhole(session: WorkerSession, claim: Claim): Promise<StatementResult> {
  if (looksLikeSeveral(claim.sql)) {
    const statements = await parseStatements(claim.sql)
    if (statements && statements.length > 1) return runEach(session, claim, statements)
  }
  try {
    return await session.runLast(claim.sql)
  } catch (error) {
    if (!isSeveralCommands(error as ServerError)) throw error
    await session.rollback()
    await ours(session.begin(claim.isolation))
    // one by one where our grammar knows it, else by the server's own
    const statements = await parseStatements(claim.sql)
    return statements ? runEach(session, claim, statements) : session.runText(claim.sql)
  }
}

async function finish(
  session: WorkerSession,
  { id, token }: Claim,
  { rows, tag }: StatementResult,
  successor: Successor | undefined,
): Promise<Pick<Execution, 'next'>> {
  const isNear = successor?.isNear() ?? null
  const { workerId = null, secret = null } = successor ?? {}
  const next = await settle(session.finish([[id], token, [rows], [tag], null, workerId, secret, isNear]))
  return { next: readClaimed(next) }
}

async function runEach(
  session: WorkerSession,
  claim: Claim,
  statements: Statement[],
): Promise<StatementResult> {
  if (claim.mode === 'auto' && statements.some(runsOutsideTransaction)) throw new OutsideOnlyError()
  let result: StatementResult = { tag: null, rows: null }
  for (const [index, statement] of statements.entries()) {
    const isLast = index === statements.length - 1
    session.notices.statement = index + 1
    result = await located(statement, isLast ? session.runLast(statement.text) : session.run(statement.text))
    session.notices.result(result)
  }
  return result
}
