import { execFileSync } from 'node:child_process'
import { PACKAGE_ROOT } from './package-root.js'

/** The commit that is measured, or the word "unknown" outside a checkout. */
export function shortCommit(): string {
  try {
    return execFileSync('git', ['rev-parse', '--short', 'HEAD'], {
      cwd: PACKAGE_ROOT,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim()
  } catch {
    return 'unknown'
  }
}
