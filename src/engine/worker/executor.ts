import type { StatementResult } from '../database/statement.js'
import type { Claim } from './claim.js'
import type { TaskError } from './ipc.js'
import {
  findTransactionControl,
  isSetting,
  leavesNoSessionState,
  parseStatements,
  runsOutsideTransaction,
  type Statement,
} from './parser.js'
import type { WorkerSession } from './session.js'

const FINISH = 'select background_queue.finish($1, $2, $3, $4)'
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

/** An attempt that must not be repeated, with the reason. */
export class FinalTaskError extends Error {
  readonly task: TaskError
  constructor(message: string, hint: string, sqlstate = '0A000') {
    super(message)
    this.task = { sqlstate, message, hint, final: true }
  }
}

/**
 * Runs a task and finishes it. Throws what the task's SQL threw, with nothing of it committed, except for SQL
 * that PostgreSQL cannot run in a transaction: that is run statement by statement, each recorded when it is done.
 */
export async function execute(session: WorkerSession, claim: Claim): Promise<StatementResult> {
  await refuseTransactionControl(claim)
  if (claim.mode === 'autocommit') return runOutside(session, claim)
  if (claim.statementsDone > 0) return runOutside(session, claim)
  try {
    return await runInside(session, claim)
  } catch (error) {
    if (session.isInTransaction) await session.rollback()
    if (claim.mode !== 'auto' || !(await mustRunOutside(error as ServerError, claim))) throw error
    await session.clean()
    return runOutside(session, claim)
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
async function runInside(session: WorkerSession, claim: Claim): Promise<StatementResult> {
  await session.begin(claim.isolation)
  let result: StatementResult
  try {
    result = await session.runLast(claim.sql)
  } catch (error) {
    if (!isSeveralCommands(error as ServerError)) throw error
    await session.rollback()
    await session.begin(claim.isolation)
    result = await runSeveral(session, claim)
  }
  if (TRANSACTION_TAGS.has(result.tag ?? '') || !session.isInTransaction)
    throw transactionControl(result.tag ?? '')
  await session.commitWith(FINISH, [claim.id, claim.token, result.rows, result.tag])
  return result
}

/** A text of several statements: one by one where our grammar knows it, else by the server's own. */
async function runSeveral(session: WorkerSession, claim: Claim): Promise<StatementResult> {
  const statements = await parseStatements(claim.sql)
  if (statements === undefined) {
    const row = await session.database.one<{ rows: bigint }>('select background_queue.run_text($1) as rows', [
      claim.sql,
    ])
    await session.database.query('set constraints all immediate')
    return { tag: null, rows: Number(row.rows) }
  }
  let result: StatementResult = { tag: null, rows: null }
  for (const [index, statement] of statements.entries()) {
    const isLast = index === statements.length - 1
    result = await (isLast ? session.runLast(statement.text) : session.run(statement.text))
  }
  return result
}

/** The task's statements one by one, each with its record where it may stand in a transaction. */
async function runOutside(session: WorkerSession, claim: Claim): Promise<StatementResult> {
  const statements = (await parseStatements(claim.sql)) ?? [{ text: claim.sql, kind: 'unknown', node: {} }]
  const first = await resume(session, claim, statements)
  let result: StatementResult = { tag: null, rows: null }
  for (const [index, statement] of statements.entries()) {
    if (index < first) continue
    const isLast = index === statements.length - 1
    const record = (r: StatementResult): [string, unknown[]] =>
      isLast ? [FINISH, [claim.id, claim.token, r.rows, r.tag]] : [STEP, [claim.id, claim.token, index + 1]]
    result = await runRecorded(session, statement, record)
  }
  if (first >= statements.length) await session.own(FINISH, [claim.id, claim.token, null, null])
  return result
}

/** Repeats the settings of what is done, and says where to go on: at the first where its traces are not known. */
async function resume(session: WorkerSession, claim: Claim, statements: Statement[]): Promise<number> {
  const done = statements.slice(0, claim.statementsDone)
  if (!done.every((s) => isSetting(s) || leavesNoSessionState(s))) {
    await session.own('select background_queue.restart($1, $2)', [claim.id, claim.token])
    return 0
  }
  for (const statement of done.filter(isSetting)) await session.run(statement.text)
  return done.length
}

async function runRecorded(
  session: WorkerSession,
  statement: Statement,
  record: (result: StatementResult) => [string, unknown[]],
): Promise<StatementResult> {
  if (!runsOutsideTransaction(statement)) {
    try {
      await session.begin(null)
      const result = await session.runLast(statement.text)
      if (!session.isInTransaction) throw transactionControl(result.tag ?? '')
      await session.commitWith(...record(result))
      return result
    } catch (error) {
      if (session.isInTransaction) await session.rollback()
      if (!isRefusedInTransaction(error as ServerError)) throw error
    }
  }
  const result = await session.run(statement.text)
  if (session.isInTransaction) {
    await session.rollback()
    throw transactionControl(result.tag ?? '')
  }
  await session.own(...record(result))
  return result
}

interface ServerError extends Error {
  code?: string
  routine?: string
  where?: string
}

/** The server's parser found more than one command: https://www.postgresql.org/docs/current/protocol-flow.html */
function isSeveralCommands({ code, routine }: ServerError): boolean {
  return code === '42601' && routine === 'exec_parse_message'
}

/**
 * Whether the server refused only because of the transaction around. SQLSTATEs are not enough (user code raises
 * them too, SET TRANSACTION has 25001), so the server's routine counts; it is never translated.
 */
function isRefusedInTransaction({ code, routine, where }: ServerError): boolean {
  return (
    code === '25001' &&
    /^PreventIn(Transaction|TransactionBlock|TransactionChain)/.test(routine ?? '') &&
    !where
  )
}

async function mustRunOutside(error: ServerError, claim: Claim): Promise<boolean> {
  if (isRefusedInTransaction(error)) return true
  if (error.code !== '2D000' || !/^_?SPI_(commit|rollback)/.test(error.routine ?? '')) return false
  const statements = await parseStatements(claim.sql)
  return statements === undefined || statements.some((s) => s.kind === 'CallStmt' || s.kind === 'DoStmt')
}
