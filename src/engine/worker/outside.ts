import {
  isRefusedCommit,
  isRefusedInTransaction,
  type ServerError,
  type StatementResult,
} from '../database/statement.js'
import type { Claim } from './claim.js'
import { repeat, settle } from './committing.js'
import { ours, persist } from './own-statement.js'
import {
  isReindex,
  isSetting,
  leavesNoSessionState,
  mayCommit,
  parseStatements,
  runsOutsideTransaction,
  type Statement,
} from './parser.js'
import type { WorkerSession } from './session.js'
import { located, transactionControl } from './task-error.js'

/** What ends a task, beside what it has done or right after it. */
export const FINISH = 'select background_queue.finish($1, $2, $3, $4)'
const STEP = 'select background_queue.step($1, $2, $3)'

/** Some statement of the text can only run outside a transaction; nothing has run yet. */
export class OutsideOnlyError extends Error {}

/** The task's statements one by one, each with its record where it may stand in a transaction. */
export async function runOutside(session: WorkerSession, claim: Claim): Promise<StatementResult> {
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

/** Whether the server refused only because of the transaction. */
export async function mustRunOutside(error: ServerError, claim: Claim): Promise<boolean> {
  if (error instanceof OutsideOnlyError || isRefusedInTransaction(error, false)) return true
  if (error.code !== '25001' && error.code !== '2D000') return false
  const statements = await parseStatements(claim.sql)
  if (statements === undefined) return isRefusedCommit(error)
  return (
    isRefusedInTransaction(error, statements.some(isReindex)) ||
    (isRefusedCommit(error) && statements.some(mayCommit))
  )
}
