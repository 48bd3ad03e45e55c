import type { Database } from '../engine/database/database.js'
import { inSchema } from '../engine/sql-files.js'
import { readSections, type Section } from './script.js'

/** One effect as the database shows it. `title` says what was looked at, `message` what was found. */
export interface Check {
  name: string
  ok: boolean
  title: string
  message: string
}

/** Looks at every effect of the demo's work. A query that fails, or finds nothing, is a check that is not ok. */
export async function checkEffects(database: Database, schema: string): Promise<Check[]> {
  const checks: Check[] = []
  for (const section of readSections('check')) checks.push(await look(database, schema, section))
  return checks
}

async function look(database: Database, schema: string, { name, title, sql }: Section): Promise<Check> {
  try {
    const [row] = await database.query<{ ok: boolean | null; message: string | null }>(inSchema(sql, schema))
    return { name, ok: row?.ok === true, title, message: row?.message ?? 'no trace of it was found' }
  } catch (error) {
    return { name, ok: false, title, message: (error as Error).message }
  }
}
