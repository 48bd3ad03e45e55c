import { Database, OWN_SEARCH_PATH } from '../engine/database/database.js'
import type { ConnectionTarget } from '../engine/database/target.js'
import { requireInstalled } from '../engine/installed.js'
import { inSchema, namedQuery } from '../engine/sql-files.js'
import type { Candidate, Wanted } from './candidates.js'

const PATIENCE_MS = 1000

const STATES: Partial<Record<Wanted, string[]>> = {
  'open-tasks': ['pending', 'running', 'retrying'],
  'closed-tasks': ['failed', 'cancelled'],
}

/** Names that only the database knows. A person waits at the other end, so it has a second. */
export async function readNames(target: ConnectionTarget, wanted: Wanted): Promise<Candidate[]> {
  const database = await Database.connect(target, {
    applicationName: 'pgbq',
    settings: { search_path: OWN_SEARCH_PATH, statement_timeout: String(PATIENCE_MS) },
    connectTimeoutMs: PATIENCE_MS,
  })
  try {
    const schema = await requireInstalled(database)
    const ask = <T extends Record<string, unknown>>(name: string, values: unknown[] = []) =>
      database.query<T>(inSchema(namedQuery(name), schema), values)
    if (wanted === 'topics')
      return (await ask<{ topic: string }>('known_topics')).map(({ topic }) => ({ value: topic }))
    if (wanted === 'parameters')
      return (await ask<{ name: string }>('known_parameters')).map(({ name }) => ({ value: name }))
    const tasks = await ask<{ id: bigint; text: string }>('known_tasks', [STATES[wanted] ?? null])
    return tasks.map(({ id, text }) => ({ value: String(id), text }))
  } finally {
    await database.close()
  }
}
