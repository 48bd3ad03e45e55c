import type { QueryResult } from 'pg'
import type { Database } from '#pgbq/engine/database/database'

/** Seconds of one transaction with its commit, by the server's clock: all in one message. */
export async function timeOnServer({ client }: Database, statement: string): Promise<number> {
  const now = 'select extract(epoch from clock_timestamp())::double precision as at'
  const results = (await client.query(
    `${now}; begin; ${statement}; commit; ${now}`,
  )) as unknown as QueryResult<{ at: number }>[]
  return results.at(-1)!.rows[0]!.at - results[0]!.rows[0]!.at
}
