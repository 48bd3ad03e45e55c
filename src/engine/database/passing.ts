/**
 * What passes by itself: https://www.postgresql.org/docs/current/errcodes-appendix.html classes of connections,
 * rollbacks, resources, locks, intervention, system and internal errors. NOT_INSTALLED: an install makes all functions
 * anew, and a statement may fall between the old ones and the new ones.
 */
const CLASSES = new Set(['08', '40', '53', '55', '57', '58', 'XX'])
const CODES = new Set(['SERVER_UNREACHABLE', 'NOT_INSTALLED', 'POOL_EXHAUSTED'])

/** Whether an error of one of our own statements says nothing about what we asked, but only about the moment. */
export function isPassing(error: Error): boolean {
  const { code = '' } = error as { code?: string }
  return CODES.has(code) || (code.length === 5 && CLASSES.has(code.slice(0, 2)))
}
