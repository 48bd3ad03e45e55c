import type { ServerError } from '../database/statement.js'
import type { Claim } from './claim.js'
import type { TaskError } from './ipc.js'
import { findTransactionControl, type Statement } from './parser.js'

/** An attempt that must not be repeated, with the reason. */
export class FinalTaskError extends Error {
  readonly task: TaskError
  constructor(message: string, hint: string, sqlstate = '0A000') {
    super(message)
    this.task = { sqlstate, message, hint, final: true }
  }
}

export async function refuseTransactionControl(claim: Claim): Promise<void> {
  const command = await findTransactionControl(claim.sql)
  if (command !== undefined) throw transactionControl(command)
}

export function transactionControl(command: string): FinalTaskError {
  return new FinalTaskError(
    `The task controls its transaction with "${command.slice(0, 60)}", which belongs to the queue`,
    'leave BEGIN and COMMIT out: all statements of one task are one transaction',
  )
}

/** An error's position counts from the beginning of the whole text. */
export async function located<T>({ offset }: Statement, running: Promise<T>): Promise<T> {
  try {
    return await running
  } catch (error) {
    const { position } = error as ServerError
    if (position !== undefined) (error as ServerError).position = String(Number(position) + offset)
    throw error
  }
}
