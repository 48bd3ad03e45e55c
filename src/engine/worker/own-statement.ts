import { setTimeout as sleep } from 'node:timers/promises'
import type { Row } from '../database/database.js'
import { isPassing } from '../database/passing.js'
import type { WorkerSession } from './session.js'

const MOST_TRIES = 5
const FIRST_PAUSE_MS = 50

/**
 * One of our own statements beside a task's failed for a reason that passes (no disk, no lock, a deadlock, a function
 * that an install just made anew): the task is not to blame, and is given back.
 */
export class OwnStatementError extends Error {
  /** A collision with others, or the task's cancel that came late, says nothing about the session. */
  readonly isHarmless: boolean

  constructor(cause: Error) {
    super(cause.message, { cause })
    this.isHarmless = /^(40|55|57014)/.test((cause as { code?: string }).code ?? '')
  }
}

/** Runs what is ours within a task's run. Errors: OwnStatementError where it passes, else as they are. */
export async function ours<T>(running: Promise<T>): Promise<T> {
  try {
    return await running
  } catch (error) {
    throw isPassing(error as Error) ? new OwnStatementError(error as Error) : error
  }
}

/**
 * One statement of ours in a transaction of its own that must not get lost, for what it records has happened: tried
 * again while that may help. A cancel that was meant for the task may hit it too.
 */
export async function persist<T extends Row>(
  session: WorkerSession,
  text: string,
  values: unknown[],
): Promise<T | undefined> {
  for (let tries = 1; ; tries++) {
    try {
      return await session.own<T>(text, values)
    } catch (error) {
      if (session.database.lost || !isPassing(error as Error) || tries === MOST_TRIES) throw error
      if (session.isInTransaction) await session.rollback()
      await sleep(FIRST_PAUSE_MS * 2 ** (tries - 1))
    }
  }
}
