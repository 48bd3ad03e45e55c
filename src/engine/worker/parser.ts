/**
 * PostgreSQL's own parser (libpg-query), loaded only when a text needs it: it costs 65 ms and some megabytes,
 * and the server itself decides about everything that runs inside a transaction.
 */

export interface Statement {
  /** the text of this statement alone, without its semicolon */
  text: string
  /** the parser's node name, such as VacuumStmt */
  kind: string
  node: Record<string, unknown>
}

interface RawStatement {
  stmt?: Record<string, Record<string, unknown>>
  stmt_location?: number
  stmt_len?: number
}

/** The statements of a text, or undefined where this grammar does not know it (a newer server may). */
export async function parseStatements(text: string): Promise<Statement[] | undefined> {
  const { parse } = await import('libpg-query')
  let statements: RawStatement[]
  try {
    statements = ((await parse(text)).stmts ?? []) as unknown as RawStatement[]
  } catch {
    return undefined
  }
  const bytes = Buffer.from(text)
  return statements.map(({ stmt, stmt_location = 0, stmt_len }) => {
    const end = stmt_len === undefined ? bytes.length : stmt_location + stmt_len
    const [kind, node] = Object.entries(stmt ?? {})[0] ?? ['EmptyStmt', {}]
    return { text: bytes.subarray(stmt_location, end).toString('utf8'), kind, node }
  })
}

/** Every transaction command has one of these words, so a text without them needs no parser to be cleared. */
const TRANSACTION_WORDS = /\b(abort|begin|commit|end|prepare|release|rollback|savepoint|start)\b/i

/** The first top-level transaction command of a text, as it is written; undefined if there is none. */
export async function findTransactionControl(text: string): Promise<string | undefined> {
  if (!TRANSACTION_WORDS.test(text)) return undefined
  const statements = await parseStatements(text)
  return statements?.find((s) => s.kind === 'TransactionStmt')?.text.trim()
}

/** Statements that PostgreSQL refuses inside a transaction, or that may commit by themselves. */
export function runsOutsideTransaction({ kind, node }: Statement): boolean {
  switch (kind) {
    case 'VacuumStmt':
      return node.is_vacuumcmd === true
    case 'IndexStmt':
    case 'DropStmt':
      return node.concurrent === true
    case 'ReindexStmt':
      return node.kind !== 'REINDEX_OBJECT_TABLE' && node.kind !== 'REINDEX_OBJECT_INDEX'
        ? true
        : hasOption(node, 'concurrently')
    case 'ClusterStmt':
      return node.relation === undefined
    case 'CreatedbStmt':
    case 'DropdbStmt':
    case 'AlterSystemStmt':
    case 'CreateTableSpaceStmt':
    case 'DropTableSpaceStmt':
    case 'CreateSubscriptionStmt':
    case 'DropSubscriptionStmt':
    case 'AlterSubscriptionStmt':
    case 'CallStmt':
    case 'DoStmt':
      return true
    case 'DiscardStmt':
      return node.target === 'DISCARD_ALL'
    default:
      return false
  }
}

function hasOption(node: Record<string, unknown>, name: string): boolean {
  return JSON.stringify(node.params ?? []).includes(`"defname":"${name}"`)
}

/** Statements that leave nothing in the session, so that a later one can start without them. */
const STATELESS = new Set([
  'InsertStmt',
  'UpdateStmt',
  'DeleteStmt',
  'MergeStmt',
  'VacuumStmt',
  'IndexStmt',
  'ReindexStmt',
  'CreateStmt',
  'AlterTableStmt',
  'DropStmt',
  'TruncateStmt',
  'RefreshMatViewStmt',
  'ClusterStmt',
  'CallStmt',
  'DoStmt',
  'CreateTableAsStmt',
  'ViewStmt',
  'CommentStmt',
  'GrantStmt',
  'CreatedbStmt',
  'DropdbStmt',
  'AlterSystemStmt',
  'NotifyStmt',
  'CheckPointStmt',
  'EmptyStmt',
  'VariableShowStmt',
  'ExplainStmt',
])

/** Whether a rescue may go on behind these statements; SET is repeated, other traces in the session are not known. */
export function leavesNoSessionState({ kind, node }: Statement): boolean {
  if (!STATELESS.has(kind)) return false
  const text = JSON.stringify(node)
  return (
    !/"relpersistence":"t"/.test(text) &&
    !/"sval":"(set_config|pg_(try_)?advisory_lock(_shared)?|setseed)"/.test(text)
  )
}

/** SET and RESET, which a rescue repeats before it goes on. */
export const isSetting = ({ kind }: Statement): boolean => kind === 'VariableSetStmt'
