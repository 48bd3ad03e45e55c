import type { Database } from './database/database.js'
import { inSchema, namedQuery, readFunctions, readSql } from './sql-files.js'

/** https://www.postgresql.org/docs/current/sql-createfunction.html: the result or the names of the arguments changed */
const CANNOT_BE_REPLACED = '42P13'

/**
 * Makes every function of ours anew, so that no change of one needs a migration and nothing of an older version
 * stays. In place where that is possible: a session that is just between two of them would not find one of another
 * identity ("cache lookup failed").
 */
export async function replaceFunctions(database: Database, schema: string): Promise<void> {
  const text = inSchema(readFunctions(), schema)
  const before = (await database.query<{ state: string }>(namedQuery('functions'))).map((f) => f.state)
  await database.query('savepoint functions')
  try {
    await database.query(text)
  } catch (error) {
    if ((error as { code?: string }).code !== CANNOT_BE_REPLACED) throw error
    await database.query('rollback to savepoint functions')
    await drop(database, before)
    await database.query(text)
  }
  await drop(database, before)
  // last: to take a right back changes the function, too
  await database.query(inSchema(readSql('closing.sql'), schema))
}

/** Those that are still as they were; one that a trigger or a constraint holds on to stays. */
async function drop(database: Database, before: string[]): Promise<void> {
  const functions = await database.query<{ state: string; signature: string; is_held: boolean }>(
    namedQuery('functions'),
  )
  for (const { state, signature, is_held } of functions)
    if (before.includes(state) && !is_held) await database.query(`drop function ${signature}`)
}
