import type { Interfaces } from '@oclif/core'
import * as Errors from '@oclif/core/errors'

/** What the parser of flags says, in our words: the fact on one line, the object in quotes. */
export function sayFlagError(error: Error): string {
  const { message } = error
  const missing = (error as { args?: Interfaces.Arg<unknown>[] }).args
  if (/^Missing \d+ required arg/.test(message) && Array.isArray(missing)) {
    const names = missing.map(({ name }) => `"${name}"`)
    return names.length === 1
      ? `The argument ${names[0]} is missing`
      : `The arguments ${names.join(' and ')} are missing`
  }
  const reworded = WORDINGS.map(([pattern, wording]) =>
    pattern.test(message) ? message.replace(pattern, wording) : undefined,
  ).find((text) => text !== undefined)
  return (reworded ?? message.replace(/\n?See more help with --help\s*$/, '')).trim()
}

/** The flag that no command knows, as it was typed. */
export const wrongFlag = ({ message }: Error): string | undefined =>
  /^Nonexistent flags?: (--?[^\s=]+)/.exec(message)?.[1]

/** Whether the error is the parser's: a wrong flag or argument. */
export const isFlagError = (error: Error): boolean => error instanceof Errors.CLIError

const WORDINGS: [RegExp, string][] = [
  [/^Nonexistent flags?: (.*?)(?:\nSee more help.*)?$/s, 'No flag is named "$1"'],
  [/^Unexpected arguments?: (.*?)(?:\nSee more help.*)?$/s, 'Nothing expects the argument "$1"'],
  [
    /^The following errors? occurred:\s+(--[\w-]+)=.* cannot also be provided when using (--[\w-]+).*$/s,
    '$1 does not go with $2',
  ],
  [/^Flag (--[\w-]+) expects a value.*$/s, '$1 has no value'],
  [/^Flag (--[\w-]+) can only be specified once.*$/s, '$1 is given twice'],
  [/^Expected (--[\w-]+)=(.*) to be one of: ([^\n]*).*$/s, 'Expected $1 to be one of $3, got "$2"'],
]
