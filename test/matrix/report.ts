import type { SuiteResult } from './run-suite.js'

/** One line a version, then what failed and what was skipped there, with the versions that say it. */
export function matrixReport(results: SuiteResult[]): string {
  const rows = results.map(({ version, count, seconds }) => [
    version,
    ...(count ? [count.passed, count.failed, count.skipped].map(String) : ['', 'broke off', '']),
    `${seconds} s`,
  ])
  return [
    table([['PostgreSQL', 'passed', 'failed', 'skipped', 'took'], ...rows]),
    ...results.filter(({ isOk }) => !isOk).map(failed),
    ...section('Skipped', results, ({ skips }) => skips),
  ].join('\n\n')
}

function table(rows: string[][]): string {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)))
  return rows.map((row) => row.map((cell, column) => cell.padStart(widths[column]!)).join('  ')).join('\n')
}

function failed({ version, failures, logFile }: SuiteResult): string {
  return [`Failed on ${version} (see ${logFile}):`, ...failures.map((title) => `  ${title}`)].join('\n')
}

/** What several versions say in the same words stands once. */
function section(
  title: string,
  results: SuiteResult[],
  linesOf: (result: SuiteResult) => string[],
): string[] {
  const versions = new Map<string, string[]>()
  for (const result of results)
    for (const line of new Set(linesOf(result)))
      versions.set(line, [...(versions.get(line) ?? []), result.version])
  if (versions.size === 0) return []
  const on = (names: string[]) => (names.length === results.length ? 'all' : names.join(', '))
  return [[`${title}:`, ...[...versions].map(([line, names]) => `  ${on(names)}: ${line}`)].join('\n')]
}
