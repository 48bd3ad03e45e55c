import { usageError } from './errors.js'

/** A number of slots or workers of this host, `least` to 64. Errors: INVALID_VALUE. */
export function parseCount(
  value: string | number | undefined,
  flag: string,
  least: number,
): number | undefined {
  if (value === undefined) return undefined
  const number = Number(value)
  if (!/^\d+$/.test(String(value)) || number < least || number > 64) {
    throw usageError('INVALID_VALUE', `Expected ${flag} to be an integer from ${least} to 64, got "${value}"`)
  }
  return number
}
