import { createInterface } from 'node:readline/promises'
import { QueueError } from '../engine/errors.js'

/** Whether somebody sits at a terminal who can be asked. */
export const canAsk = (): boolean => process.stdin.isTTY === true && process.stderr.isTTY === true

/** Asks at a terminal; elsewhere, and where it was said already, goes on. Errors: NOT_CONFIRMED. */
export async function ask(question: string, isSure: boolean): Promise<void> {
  if (isSure || !canAsk()) return
  const terminal = createInterface({ input: process.stdin, output: process.stderr })
  // Ctrl-C or the end of the input is a no
  const left = new Promise<string>((resolve) => terminal.once('close', () => resolve('')))
  try {
    const answer = await Promise.race([terminal.question(`${question} [y/N] `), left])
    if (/^y(es)?$/i.test(answer.trim())) return
  } finally {
    terminal.close()
  }
  throw new QueueError('NOT_CONFIRMED', 'Nothing was changed')
}
