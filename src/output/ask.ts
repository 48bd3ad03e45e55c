import { createInterface } from 'node:readline/promises'
import { QueueError } from '../engine/errors.js'

/** Whether somebody sits at a terminal who can be asked. */
export const canAsk = (): boolean => process.stdin.isTTY === true && process.stderr.isTTY === true

/** Asks at a terminal; elsewhere, and where it was said already, goes on. Errors: NOT_CONFIRMED. */
export async function ask(question: string, isSure: boolean): Promise<void> {
  if (isSure || !canAsk()) return
  if (/^y(es)?$/i.test(await answerTo(`${question} [y/N] `))) return
  throw new QueueError('NOT_CONFIRMED', 'Nothing was changed')
}

/** What somebody at the terminal types; '' where they leave by Ctrl-C, Ctrl-D or the end of the input. */
export async function answerTo(question: string): Promise<string> {
  const terminal = createInterface({ input: process.stdin, output: process.stderr })
  // readline leaves a question open for ever that somebody leaves
  const left = new Promise<undefined>((resolve) => terminal.once('close', () => resolve(undefined)))
  try {
    const answer = await Promise.race([terminal.question(question), left])
    if (answer === undefined) process.stderr.write('\n')
    return answer?.trim() ?? ''
  } finally {
    terminal.close()
  }
}
