import { setTimeout as sleep } from 'node:timers/promises'
import { isSerializationConflict, type ServerError } from '../database/statement.js'
import { OwnStatementError, ours } from './own-statement.js'
import type { WorkerSession } from './session.js'

/** What ran is rolled back, and to be run again. */
export class AgainError extends Error {}

const MOST_COMMITS = 30
const LONGEST_PAUSE_MS = 100

/** Runs a transaction until it commits, or throws anything but AgainError. */
export async function repeat<T>(session: WorkerSession, run: (isAgain: boolean) => Promise<T>): Promise<T> {
  for (let commits = 1; ; commits++) {
    try {
      return await run(commits > 1)
    } catch (error) {
      if (!(error instanceof AgainError)) throw error
      if (commits === MOST_COMMITS) throw new OwnStatementError(error.cause as Error)
      if (session.isInTransaction) await session.rollback()
      // two that run in step would collide again and again
      await sleep(Math.random() * Math.min(2 ** commits, LONGEST_PAUSE_MS))
    }
  }
}

/**
 * A commit of ours. SERIALIZABLE tasks that finish side by side look dependent on one another to the server, for their
 * rows in the queue share pages; such a commit is tried again, as the manual demands:
 * https://www.postgresql.org/docs/current/transaction-iso.html#XACT-SERIALIZABLE
 */
export async function settle<T>(committing: Promise<T>): Promise<T> {
  try {
    return await ours(committing)
  } catch (error) {
    const { cause } = error as Error
    throw isSerializationConflict((cause ?? error) as ServerError) ? new AgainError('', { cause }) : error
  }
}
