import { once } from 'node:events'
import { createReadStream } from 'node:fs'
import type { Writable } from 'node:stream'
import pg from 'pg'
import type { Database } from '#pgbq/engine/database/database'

interface Wire {
  stream: Writable
  sendCopyFromChunk(chunk: Buffer): void
  endCopyFrom(): void
  sendCopyFail(reason: string): void
}

/** COPY … FROM STDIN, which `pg` leaves to others: https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-COPY */
class CopyQuery extends pg.Query {
  readonly done: Promise<void>

  constructor(
    text: string,
    private readonly path: string,
  ) {
    super(text)
    this.done = new Promise((resolve, reject) => {
      const self = this as unknown as { callback: (error: Error | null) => void }
      self.callback = (error) => (error ? reject(error) : resolve())
    })
  }

  handleCopyInResponse(connection: Wire): void {
    this.send(connection).catch((error: Error) => connection.sendCopyFail(error.message))
  }

  private async send(connection: Wire): Promise<void> {
    for await (const chunk of createReadStream(this.path, { highWaterMark: 65_536 })) {
      connection.sendCopyFromChunk(chunk as Buffer)
      if (connection.stream.writableNeedDrain) await once(connection.stream, 'drain')
    }
    connection.endCopyFrom()
  }
}

/** Each line of the file becomes a row of this table's column, in the transaction that is open. */
export async function copyFile({ client }: Database, into: string, path: string): Promise<void> {
  const query = new CopyQuery(`copy ${into} from stdin`, path)
  client.query(query as unknown as pg.Submittable)
  await query.done
}
