import type { Session } from '../database/session.js'
import { QueueError } from '../errors.js'
import { findTask, type TaskRow } from '../task-store.js'

/** What an action did to one task. `state`: now, null if there is no such task. */
export interface Outcome {
  id: bigint
  done: boolean
  state: string | null
  message: string
}

/** A task, or undefined where nobody (or nobody we may see) has the id. */
export async function lookUp(session: Session, schema: string, id: bigint): Promise<TaskRow | undefined> {
  try {
    return await findTask(session, schema, id)
  } catch (error) {
    if (error instanceof QueueError && error.code === 'UNKNOWN_TASK') return undefined
    throw error
  }
}

export const unknown = (id: bigint): Outcome => ({
  id,
  done: false,
  state: null,
  message: `No task has the id ${id}`,
})

/** Whether the queue did it; false also where the task is unknown or not the caller’s. */
export async function command(session: Session, verb: 'cancel' | 'retry', id: bigint): Promise<boolean> {
  const { done } = await session.one<{ done: boolean }>(
    'insert into background_queue.commands (verb, task_id) values ($1, $2) returning done',
    [verb, id],
  )
  return done
}
