/**
 * PostgreSQL's own parser (libpg-query), loaded only when a text needs it: it costs 65 ms and some megabytes,
 * and the server itself decides about everything that runs inside a transaction.
 */

export interface Statement {
  /** the text of this statement alone, without its semicolon */
  text: string
  /** characters of the whole text before it, as the server counts an error's position */
  offset: number
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
  let [offset, counted] = [0, 0]
  return statements.map(({ stmt, stmt_location = 0, stmt_len }) => {
    const end = stmt_len === undefined ? bytes.length : stmt_location + stmt_len
    const [kind, node] = Object.entries(stmt ?? {})[0] ?? ['EmptyStmt', {}]
    offset += countCharacters(bytes.subarray(counted, stmt_location))
    counted = stmt_location
    return { text: bytes.subarray(stmt_location, end).toString('utf8'), offset, kind, node }
  })
}

/** A longer text is not worth the parser's time and memory before the server has seen it. */
const LONGEST_GUESS = 1_000_000

/** Something stands behind a semicolon: more statements, or a comment, a body of code, a string. */
export const looksLikeSeveral = (text: string): boolean =>
  text.length <= LONGEST_GUESS && /;\s*[^\s;]/.test(text)

/** Characters of UTF-8: the bytes that do not continue one. */
function countCharacters(bytes: Uint8Array): number {
  return bytes.reduce((count, byte) => count + ((byte & 0xc0) === 0x80 ? 0 : 1), 0)
}

/**
 * A transaction command begins with one of these words, behind nothing, a semicolon or a comment. A text without
 * any there needs no parser to be cleared.
 */
const TRANSACTION_WORDS =
  /(?:^|[;/\n\r])[ \t\f\v]*(?:abort|begin|commit|end|prepare|release|rollback|savepoint|start)\b/i

/** Whether a text may have a transaction command; false is certain. */
export const mayControlTransaction = (text: string): boolean => TRANSACTION_WORDS.test(text)

/** The first top-level transaction command of a text, as it is written; undefined if there is none. */
export async function findTransactionControl(text: string): Promise<string | undefined> {
  if (!mayControlTransaction(text)) return undefined
  const statements = await parseStatements(text)
  return statements?.find((s) => s.kind === 'TransactionStmt')?.text.trim()
}

/** Statements that PostgreSQL refuses inside a transaction. */
export function runsOutsideTransaction({ kind, node }: Statement): boolean {
  switch (kind) {
    case 'VacuumStmt':
      return node.is_vacuumcmd === true
    case 'IndexStmt':
    case 'DropStmt':
      return node.concurrent === true
    case 'ReindexStmt':
      return (
        (node.kind !== 'REINDEX_OBJECT_TABLE' && node.kind !== 'REINDEX_OBJECT_INDEX') ||
        JSON.stringify(node.params ?? []).includes('"defname":"concurrently"')
      )
    case 'ClusterStmt':
      return node.relation === undefined
    case 'CreatedbStmt':
    case 'DropdbStmt':
    case 'AlterSystemStmt':
    case 'CreateTableSpaceStmt':
    case 'DropTableSpaceStmt':
      return true
    case 'DiscardStmt':
      return node.target === 'DISCARD_ALL'
    default:
      return false
  }
}

/** Statements whose code may commit by itself. */
export const mayCommit = ({ kind }: Statement): boolean => kind === 'CallStmt' || kind === 'DoStmt'

/** REINDEX, whose errors have a context of their own. */
export const isReindex = ({ kind }: Statement): boolean => kind === 'ReindexStmt'

/** Statements that leave in the session what a later one may need. */
const TRACES = new Set(['PrepareStmt', 'DeclareCursorStmt', 'ListenStmt', 'LoadStmt', 'UnknownStmt'])

/** Whether a rescue may go on behind this statement. What functions do to the session cannot be seen. */
export function leavesNoSessionState({ kind, node }: Statement): boolean {
  if (TRACES.has(kind)) return false
  const text = JSON.stringify(node)
  return (
    !/"relpersistence":"t"|pg_temp|set_config|advisory_lock|setseed/.test(text) &&
    !(kind === 'DoStmt' && /\btemp/i.test(text))
  )
}

/** Settings of the session, which a rescue repeats before it goes on. */
export const isSetting = ({ kind }: Statement): boolean =>
  kind === 'VariableSetStmt' || kind === 'DiscardStmt'
