import type { Database } from '../engine/database/database.js'
import type { ConnectionTarget } from '../engine/database/target.js'
import { type QueueStatus, readStatus } from '../engine/status.js'
import { listTasks, type TaskRow } from '../engine/task-store.js'
import type { Screen } from '../output/screen.js'
import { buildShop, enqueueWork, prepareQueue } from './build.js'
import { type Check, checkEffects } from './checks.js'
import type { Interrupt } from './interrupt.js'
import { openPlace, shownUrl } from './place.js'
import { workUntilEmpty } from './work.js'

/** What a demo did: tasks oldest first, one check for each effect, the queue's state at the end. */
export interface DemoReport {
  /** of the demo's database, without a password; undefined where the server was not named by a URL */
  url: string | undefined
  tasks: TaskRow[]
  checks: Check[]
  duration_ms: number
  status: QueueStatus
}

export interface DemoOptions {
  server: ConnectionTarget
  schema: string | undefined
  /** of this program, for the supervisor's record */
  version: string
  screen: Screen
  interrupt: Interrupt
}

/**
 * Builds a shop in a database of its own, enqueues work, runs it, and looks at every effect. The database stays
 * until the next demo. Errors: INTERRUPTED, and those of openPlace.
 */
export async function runDemo(options: DemoOptions): Promise<DemoReport> {
  const startedAt = performance.now()
  const { screen, interrupt } = options
  const place = await openPlace(options.server)
  try {
    const { database, target } = place
    await buildShop(database, screen, interrupt)
    const schema = await prepareQueue(database, screen, options.schema)
    const tasks = await enqueueWork(database, screen, schema)
    await workUntilEmpty(target, options.version, tasks, screen, interrupt)
    screen.step('The proof', 'Every effect, looked up in the database.')
    const result = await readResult(database, schema, tasks.size)
    return { url: shownUrl(target), ...result, duration_ms: Math.round(performance.now() - startedAt) }
  } finally {
    await place.close()
  }
}

async function readResult(database: Database, schema: string, limit: number) {
  const checks = await checkEffects(database, schema)
  const tasks = (await listTasks(database, schema, { limit })).reverse()
  return { tasks, checks, status: await readStatus(database, schema) }
}
