import { setTimeout as sleep } from 'node:timers/promises'
import type { Database } from './database/database.js'
import type { ServerError } from './database/statement.js'
import { inSchema } from './sql-files.js'

/**
 * Whoever holds a lock that we want may wait for one that we hold. The server's own way out of that after 1 s
 * (deadlock_timeout) could hit a task; so we give up before it does, and let the queue work between two tries.
 */
export const LOCK_TIMEOUT_MS = 500
const LONGEST_PAUSE_MS = 500
const PATIENCE_MS = 20_000

/** Tries again for a while what collided with other sessions. */
export async function patiently<T>(attempt: () => Promise<T>, patienceMs = PATIENCE_MS): Promise<T> {
  const giveUpAt = performance.now() + patienceMs
  for (;;) {
    try {
      return await attempt()
    } catch (error) {
      if (!isCollision(error as ServerError) || performance.now() > giveUpAt) throw error
    }
    await sleep(Math.random() * LONGEST_PAUSE_MS)
  }
}

/** A lock that was not to be had, a deadlock, a row of the catalog that another session has just changed. */
function isCollision({ code = '', routine = '' }: ServerError): boolean {
  return code === '55P03' || code === '40P01' || (code === 'XX000' && /^simple_heap_/.test(routine))
}

/** In the order in which enqueues and claims lock them. */
const ENTRANCES = ['inbox', 'inbox_many', 'commands', 'claim_gate'].map((name) => `background_queue.${name}`)

/** Waits until nobody is within one of our functions, and lets nobody in until the transaction ends. */
export async function keepOthersOut(database: Database, schema: string): Promise<void> {
  const rows = await database.query<{ name: string }>(
    `select n as name from unnest($1::text[]) with ordinality u(n, place)
     where to_regclass(n) is not null order by place`,
    [[...ENTRANCES, inSchema(':"schema".pg_background_tasks', schema)]],
  )
  for (const { name } of rows) await database.query(`lock table ${name} in access exclusive mode`)
}
