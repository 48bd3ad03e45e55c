import './navigator.js'
import pg from 'pg'
import { PipelineQuery } from './pipeline.js'

/** How a statement ended: the server's command tag without its counts, and the rows it told of. */
export interface StatementResult {
  tag: string | null
  rows: number | null
}

interface Wire {
  sendCopyFail(reason: string): void
  sync(): void
}

/**
 * One statement by the extended protocol, so that the server itself refuses a second command in the text. Rows
 * are dropped as they stream: the memory of a SELECT of any size is flat.
 */
class DiscardingQuery extends pg.Query {
  readonly done: Promise<StatementResult>
  private result: StatementResult = { tag: null, rows: null }

  constructor(text: string) {
    super({ text, queryMode: 'extended' } as unknown as pg.QueryConfig)
    this.done = new Promise((resolve, reject) => {
      const self = this as unknown as { callback: (error: Error | null) => void }
      self.callback = (error) => (error ? reject(error) : resolve(this.result))
    })
  }

  handleDataRow(): void {}

  handleCommandComplete(message: { text: string }): void {
    this.result = readTag(message.text)
  }

  /** COPY FROM STDIN has nothing to read here. The server ignored the Sync it was sent while it waited for data. */
  handleCopyInResponse(connection: Wire): void {
    connection.sendCopyFail('a task has no standard input')
    connection.sync()
  }
}

/** A command tag and its counts, of which the last is that of the rows. */
export function readTag(text: string): StatementResult {
  const counts = text.match(/^(.*?)((?: \d+)*)$/s)!
  return { tag: counts[1]!, rows: counts[2] ? Number(counts[2].trim().split(' ').at(-1)) : null }
}

/** What a script of ours answered: the command tags, and the first column of each row. */
export interface ScriptResult {
  tags: string[]
  values: (string | null)[]
}

/** Several commands in one message, without the objects that `pg` makes of each answer. */
class ScriptQuery extends pg.Query {
  readonly done: Promise<ScriptResult>
  private readonly result: ScriptResult = { tags: [], values: [] }

  constructor(text: string) {
    super({ text } as pg.QueryConfig)
    this.done = new Promise((resolve, reject) => {
      const self = this as unknown as { callback: (error: Error | null) => void }
      self.callback = (error) => (error ? reject(error) : resolve(this.result))
    })
  }

  handleRowDescription(): void {}

  handleDataRow(message: { fields: (string | null)[] }): void {
    this.result.values.push(message.fields[0] ?? null)
  }

  handleCommandComplete(message: { text: string }): void {
    this.result.tags.push(message.text)
  }
}

export function submitScript(client: pg.Client, text: string): Promise<ScriptResult> {
  const query = new ScriptQuery(text)
  client.query(query as unknown as pg.Submittable)
  return query.done
}

/** Whether what the server answers now is the result of a task's statement. */
export function isDiscarding(client: pg.Client): boolean {
  const query = (client as unknown as { _getActiveQuery(): unknown })._getActiveQuery()
  return query instanceof PipelineQuery ? query.isDiscarding : query instanceof DiscardingQuery
}

/** Sends one statement of a task; the next may be sent before it is answered. */
export function submitStatement(client: pg.Client, text: string): Promise<StatementResult> {
  const query = new DiscardingQuery(text)
  client.query(query as unknown as pg.Submittable)
  return query.done
}

/** A text of any statements that the server's own grammar knows, by EXECUTE, which refuses transaction control. */
export async function executeText(client: pg.Client, text: string): Promise<StatementResult> {
  try {
    const { rows } = await client.query<{ rows: bigint }>({
      text: 'select background_queue.run_text($1) as rows',
      values: [text],
    })
    return { tag: null, rows: Number(rows[0]!.rows) }
  } catch (error) {
    throw withoutOurFrames(error as ServerError, text)
  }
}

/** The error as it were without EXECUTE: no context lines of ours, the position in the task's own text. */
function withoutOurFrames(error: ServerError, text: string): ServerError {
  const lines = (error.where ?? '').split('\n')
  if (lines.at(-1)?.includes('background_queue.run_text(')) lines.pop()
  const context = lines.join('\n')
  const quoted = context.lastIndexOf(text)
  const end = quoted < 0 ? undefined : context.lastIndexOf('\n', quoted) + 1
  error.where = context.slice(0, end).trimEnd() || undefined
  if (error.internalQuery === text) error.position = error.internalPosition
  return error
}

/** A server's error as it comes over the wire. `routine`, the server's own function, is never translated. */
export interface ServerError extends Error {
  code?: string
  routine?: string
  where?: string | undefined
  position?: string | undefined
  internalPosition?: string
  internalQuery?: string
}

/** The server's parser found more than one command: https://www.postgresql.org/docs/current/protocol-flow.html */
export function isSeveralCommands({ code, routine }: ServerError): boolean {
  return code === '42601' && routine === 'exec_parse_message'
}

/**
 * Whether the server refused only because of the transaction around. SQLSTATEs are not enough (user code raises
 * them too, SET TRANSACTION has 25001), so the server's routine counts. A context tells of a function around it,
 * which would be refused outside too; but REINDEX gives itself one for a partitioned table.
 */
export function isRefusedInTransaction({ code, routine, where }: ServerError, isReindex: boolean): boolean {
  return (
    code === '25001' &&
    /^PreventIn(Transaction|TransactionBlock|TransactionChain)/.test(routine ?? '') &&
    (!where || isReindex)
  )
}

/** COMMIT or ROLLBACK of a procedure or DO block, which the transaction around forbids. */
export function isRefusedCommit({ code, routine }: ServerError): boolean {
  return code === '2D000' && /^_?SPI_(commit|rollback)/.test(routine ?? '')
}

/** Not so a row that another changed (the end of a task was requested, say): it has this code too. */
export function isSerializationConflict({ code, routine }: ServerError): boolean {
  return code === '40001' && /Serializ/.test(routine ?? '')
}
