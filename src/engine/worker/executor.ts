import { setTimeout as sleep } from 'node:timers/promises'
import {
  isRefusedCommit,
  isRefusedInTransaction,
  isSerializationConflict,
  isSeveralCommands,
  type ServerError,
  type StatementResult,
} from '../database/statement.js'
import { type Claim, type NextClaim, toNextClaim } from './claim.js'
import type { TaskError } from './ipc.js'
import { OwnStatementError, ours, persist } from './own-statement.js'
import {
  findTransactionControl,
  isReindex,
  isSetting,
  leavesNoSessionState,
  looksLikeSeveral,
  mayCommit,
  parseStatements,
  runsOutsideTransaction,
  type Statement,
} from './parser.js'
import type { WorkerSession } from './session.js'

const FINISH = 'select background_queue.finish($1, $2, $3, $4)'
const FINISH_AND_CLAIM = 'select * from background_queue.finish_and_claim($1, $2, $3, $4, $5, $6, $7)'
const STEP = 'select background_queue.step($1, $2, $3)'

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
  next?: NextClaim
}

/** The worker for which a commit may claim the next task. */
export interface Successor {
  workerId: bigint
  secret: string
  /** asked just before the commit: null: nothing more is wanted; true: look only behind this task */
  isNear(): boolean | null
}

/** An attempt that must not be repeated, with the reason. */
export class FinalTaskError extends Error {
  readonly task: TaskError
  constructor(message: string, hint: string, sqlstate = '0A000') {
    super(message)
    this.task = { sqlstate, message, hint, final: true }
  }
}

/**
 * SERIALIZABLE tasks that finish side by side look dependent on one another to the server, for their rows in the
 * queue share pages; such a commit is tried again, as the manual demands:
 * https://www.postgresql.org/docs/current/transaction-iso.html#XACT-SERIALIZABLE
 */
class ConflictError extends Error {}

const MOST_COMMITS = 30
const LONGEST_PAUSE_MS = 100

/** Some statement of the text can only run outside a transaction; nothing has run yet. */
class OutsideOnlyError extends Error {}

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
      return runInside(session, claim, successor)
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

/** Runs a transaction until it does not collide with another at its commit. */
async function repeat<T>(session: WorkerSession, run: (isAgain: boolean) => Promise<T>): Promise<T> {
  for (let commits = 1; ; commits++) {
    try {
      return await run(commits > 1)
    } catch (error) {
      if (!(error instanceof ConflictError)) throw error
      if (commits === MOST_COMMITS) throw new OwnStatementError(error.cause as Error)
      if (session.isInTransaction) await session.rollback()
      // two that run in step would collide again and again
      await sleep(Math.random() * Math.min(2 ** commits, LONGEST_PAUSE_MS))
    }
  }
}

async function settle<T>(committing: Promise<T>): Promise<T> {
  try {
    return await ours(committing)
  } catch (error) {
    const { cause } = error as Error
    throw isSerializationConflict((cause ?? error) as ServerError) ? new ConflictError('', { cause }) : error
  }
}

async function refuseTransactionControl(claim: Claim): Promise<void> {
  const command = await findTransactionControl(claim.sql)
  if (command !== undefined) throw transactionControl(command)
}

function transactionControl(command: string): FinalTaskError {
  return new FinalTaskError(
    `The task controls its transaction with "${command.slice(0, 60)}", which belongs to the queue`,
    'leave BEGIN and COMMIT out: all statements of one task are one transaction',
  )
}

/** The task's SQL and its finish in one transaction. */
async function runInside(
  session: WorkerSession,
  claim: Claim,
  successor: Successor | undefined,
): Promise<Execution> {
  await ours(session.begin(claim.isolation))
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
  if (!successor || isNear === null) {
    await settle(session.commitLastWith(FINISH, [id, token, rows, tag]))
    return {}
  }
  const { workerId, secret } = successor
  const values = [id, token, rows, tag, workerId, secret, isNear]
  const next = await settle(session.commitLastWith(FINISH_AND_CLAIM, values))
  return next ? { next: toNextClaim(next) } : {}
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

/** An error's position counts from the beginning of the whole text. */
async function located<T>({ offset }: Statement, running: Promise<T>): Promise<T> {
  try {
    return await running
  } catch (error) {
    const { position } = error as ServerError
    if (position !== undefined) (error as ServerError).position = String(Number(position) + offset)
    throw error
  }
}

/** The task's statements one by one, each with its record where it may stand in a transaction. */
async function runOutside(session: WorkerSession, claim: Claim): Promise<StatementResult> {
  await session.close()
  const statements = (await parseStatements(claim.sql)) ?? [
    { text: claim.sql, offset: 0, kind: 'UnknownStmt', node: {} },
  ]
  const first = await resume(session, claim, statements)
  let result: StatementResult = { tag: null, rows: null }
  for (const [index, statement] of statements.entries()) {
    if (index < first) continue
    const isLast = index === statements.length - 1
    if (statements.length > 1) session.notices.statement = index + 1
    const record: Recorder = (r) =>
      isLast ? [FINISH, [claim.id, claim.token, r.rows, r.tag]] : [STEP, [claim.id, claim.token, index + 1]]
    result = await located(statement, runRecorded(session, claim, statement, record))
    if (statements.length > 1) session.notices.result(result)
  }
  if (first >= statements.length) await ours(persist(session, FINISH, [claim.id, claim.token, null, null]))
  return result
}

/** Repeats the settings of what is done, and says where to go on: at the first where its traces are not known. */
async function resume(session: WorkerSession, claim: Claim, statements: Statement[]): Promise<number> {
  const done = statements.slice(0, claim.statementsDone)
  if (!done.every((s) => isSetting(s) || leavesNoSessionState(s))) {
    await ours(session.own('select background_queue.restart($1, $2)', [claim.id, claim.token]))
    return 0
  }
  for (const statement of done.filter(isSetting)) await session.run(statement.text)
  return done.length
}

/** What records a statement's end: a statement of ours and its values. */
type Recorder = (result: StatementResult) => [text: string, values: unknown[]]

async function runRecorded(
  session: WorkerSession,
  claim: Claim,
  statement: Statement,
  record: Recorder,
): Promise<StatementResult> {
  const { mark } = session.notices
  const isBare = runsOutsideTransaction(statement) || (claim.mode === 'autocommit' && mayCommit(statement))
  if (!isBare) {
    try {
      return await repeat(session, async () => {
        await ours(session.begin(claim.isolation))
        const result = await session.runLast(statement.text)
        await session.notices.settle()
        if (!session.isInTransaction) throw transactionControl(result.tag ?? '')
        await settle(session.commitWith(...record(result)))
        return result
      })
    } catch (error) {
      session.notices.hold()
      if (session.isInTransaction) await session.rollback()
      const isCommit = isRefusedCommit(error as ServerError) && mayCommit(statement)
      if (!isCommit && !isRefusedInTransaction(error as ServerError, isReindex(statement))) throw error
      session.notices.again(mark)
    }
  }
  const result = await session.run(statement.text)
  if (session.isInTransaction) {
    await session.rollback()
    throw transactionControl(result.tag ?? '')
  }
  await session.notices.settle()
  await ours(persist(session, ...record(result)))
  return result
}

async function mustRunOutside(error: ServerError, claim: Claim): Promise<boolean> {
  if (error instanceof OutsideOnlyError || isRefusedInTransaction(error, false)) return true
  if (error.code !== '25001' && error.code !== '2D000') return false
  const statements = await parseStatements(claim.sql)
  if (statements === undefined) return isRefusedCommit(error)
  return (
    isRefusedInTransaction(error, statements.some(isReindex)) ||
    (isRefusedCommit(error) && statements.some(mayCommit))
  )
}
