import { spawn } from 'node:child_process'
import { createWriteStream, mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { PACKAGE_ROOT } from '../bench/package-root.js'

/** What the tests said on one version. */
export interface SuiteResult {
  /** such as `13.23` */
  version: string
  /** null where the run broke off before it was counted */
  count: { passed: number; failed: number; skipped: number } | null
  seconds: number
  /** titles, as vitest says them */
  failures: string[]
  /** one line each, with the reason */
  skips: string[]
  isOk: boolean
  logFile: string
}

/** The whole output goes to a file, of which only the counts and what was not passed are kept. */
export async function runSuite(major: number, release: string, files: string[]): Promise<SuiteResult> {
  const version = release.split('.').slice(0, 2).join('.')
  const logFile = join(logFolder(), `${major}.log`)
  const begunAt = Date.now()
  const code = await runVitest(major, files, logFile)
  const said = readFileSync(logFile, 'utf8')
  const seconds = Math.round((Date.now() - begunAt) / 1000)
  return { version, ...readLog(said), seconds, isOk: code === 0, logFile }
}

function logFolder(): string {
  const folder = join(PACKAGE_ROOT, 'node_modules', '.cache', 'pgbq-matrix')
  mkdirSync(folder, { recursive: true })
  return folder
}

/** What a log of the tests says; the count is the line that closes it (test/support/count-reporter.ts). */
export function readLog(said: string): Pick<SuiteResult, 'count' | 'failures' | 'skips'> {
  const lines = said.split('\n')
  const counted = lines.map((line) => /^(\d+) passed, (\d+) failed, (\d+) skipped$/.exec(line)).find(Boolean)
  const [passed, failed, skipped] = counted?.slice(1).map(Number) ?? []
  const titles = lines.map((line) => /^ FAIL {2}(.+)$/.exec(line)?.[1] ?? '').filter(Boolean)
  return {
    count: counted ? { passed: passed!, failed: failed!, skipped: skipped! } : null,
    failures: [...new Set(titles)],
    skips: lines.filter((line) => line.startsWith('skipped: ')).map((line) => line.slice('skipped: '.length)),
  }
}

/** It gets the signals of the terminal itself; SIGTERM and SIGHUP are passed on. Resolves with its exit code. */
function runVitest(major: number, files: string[], logFile: string): Promise<number | null> {
  const vitest = join(PACKAGE_ROOT, 'node_modules', 'vitest', 'vitest.mjs')
  const child = spawn(process.execPath, [vitest, 'run', '--config', 'test/vitest.config.ts', ...files], {
    cwd: PACKAGE_ROOT,
    env: {
      ...process.env,
      PGBQ_TEST_DATABASE_URL: '',
      PGBQ_TEST_POSTGRES: String(major),
      NO_COLOR: '1',
      CI: '1',
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const log = createWriteStream(logFile)
  child.stdout.pipe(log, { end: false })
  child.stderr.pipe(log, { end: false })
  for (const signal of ['SIGTERM', 'SIGHUP'] as const) process.once(signal, () => child.kill(signal))
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code) => log.end(() => resolve(code)))
  })
}
