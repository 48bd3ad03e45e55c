import pg from 'pg'

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
    const counts = message.text.match(/^(.*?)((?: \d+)*)$/s)!
    this.result = { tag: counts[1]!, rows: counts[2] ? Number(counts[2].trim().split(' ').at(-1)) : null }
  }

  /** COPY FROM STDIN has nothing to read here. The server ignored the Sync it was sent while it waited for data. */
  handleCopyInResponse(connection: Wire): void {
    connection.sendCopyFail('a task has no standard input')
    connection.sync()
  }
}

/** Sends one statement of a task; the next may be sent before it is answered. */
export function submitStatement(client: pg.Client, text: string): Promise<StatementResult> {
  const query = new DiscardingQuery(text)
  client.query(query as unknown as pg.Submittable)
  return query.done
}
