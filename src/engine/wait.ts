import type { Database } from './database/database.js'
import { findTask } from './task-store.js'

const FIRST_LOOK_MS = 10
const LAST_LOOK_MS = 500

/** Resolves when the task is closed; it may have been pruned by then. Errors: UNKNOWN_TASK. */
export async function waitForEnd(database: Database, schema: string, id: bigint): Promise<void> {
  for (let delayMs = FIRST_LOOK_MS; ; delayMs = Math.min(delayMs * 1.5, LAST_LOOK_MS)) {
    const { state } = await findTask(database, schema, id)
    if (['finished', 'failed', 'cancelled'].includes(state)) return
    await new Promise((resolve) => setTimeout(resolve, delayMs))
  }
}
