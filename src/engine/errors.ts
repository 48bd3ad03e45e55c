/**
 * The one error type of the queue. `code` is stable and machine-readable, `message` states the fact with the
 * object in quotes, `hint` is one command or action that leads out. `usage` marks mistakes in flags, values
 * or files, which end a command with exit code 2; everything else ends with 1.
 */
export class QueueError extends Error {
  readonly code: string
  readonly hint: string | undefined
  readonly usage: boolean

  constructor(
    code: string,
    message: string,
    options: { hint?: string | undefined; usage?: boolean; cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = 'QueueError'
    this.code = code
    this.hint = options.hint
    this.usage = options.usage ?? false
  }
}

/** A mistake of the caller: a flag, an argument, a value, a file. Ends a command with exit code 2. */
export function usageError(code: string, message: string, hint?: string): QueueError {
  return new QueueError(code, message, { hint, usage: true })
}
