import type { Database } from '../database/database.js'
import type { Session } from '../database/session.js'
import { waitForEnd } from '../wait.js'
import { command, lookUp, type Outcome, unknown } from './outcome.js'

/** Cancels a waiting task, or asks for the end of a running one: `done` is true then, and `state` running. */
export async function cancelTask(session: Session, schema: string, id: bigint): Promise<Outcome> {
  const done = await command(session, 'cancel', id)
  const task = await lookUp(session, schema, id)
  if (!task) return unknown(id)
  const { state } = task
  if (!done) return { id, done, state, message: `Task ${id} is ${state}, so it cannot be cancelled` }
  return state === 'cancelled'
    ? { id, done, state, message: `Task ${id} is cancelled` }
    : { id, done, state, message: `Task ${id} is ${state}; its end is requested` }
}

/** Waits for the end that was asked for; `done` tells whether the task was not faster. */
export async function awaitCancel(database: Database, schema: string, asked: Outcome): Promise<Outcome> {
  const { id } = asked
  if (!asked.done || asked.state === 'cancelled') return asked
  await waitForEnd(database, schema, id)
  const task = await lookUp(database, schema, id)
  if (!task) return unknown(id)
  const { state } = task
  return state === 'cancelled'
    ? { id, done: true, state, message: `Task ${id} is cancelled` }
    : { id, done: false, state, message: `Task ${id} was ${state} before it could be cancelled` }
}
