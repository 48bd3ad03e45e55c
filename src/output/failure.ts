import { QueueError, usageError } from '../engine/errors.js'
import { isFlagError, sayFlagError, wrongFlag } from './flag-error.js'
import { nearest } from './nearest.js'

/**
 * How a command ends badly: wrong flags are usage errors; what the server said beyond our rules is passed on with its
 * SQLSTATE. `line` is the command as it is typed, `flags` are all that it knows.
 */
export function toQueueError(
  error: Error & { code?: string; hint?: string },
  line: string,
  flags: object,
): QueueError {
  if (isFlagError(error)) return usageError('USAGE', sayFlagError(error), helpHint(error, line, flags))
  if (!(error instanceof QueueError)) {
    return new QueueError(error.code ?? 'UNEXPECTED', error.message, { hint: error.hint, cause: error })
  }
  if (!error.usage || error.hint !== undefined) return error
  return usageError(error.code, error.message, helpHint(error, line, flags))
}

/** The flag that a wrong one was meant to be, and where all of them stand. */
function helpHint(error: Error, line: string, flags: object): string {
  const known = Object.keys(flags).map((name) => `--${name}`)
  const near = nearest(wrongFlag(error) ?? '', known)
  return `${near === undefined ? '' : `${line} ${near}, or `}${line} --help`
}
