import { QueueError } from '#pgbq/engine/errors'
import { installPostgres, MAJORS } from '../support/postgres-packages.js'
import { readOptions, USAGE } from './options.js'
import { matrixReport } from './report.js'
import { runSuite, type SuiteResult } from './run-suite.js'

const note = (message: string): void => void process.stderr.write(`${message}\n`)

/** One version after another: the tests measure times, and two suites beside each other would disturb them. */
async function main(): Promise<void> {
  const options = readOptions(process.argv.slice(2), MAJORS)
  if (options === undefined) return void process.stdout.write(`${USAGE}\n`)
  let isStopped = false
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => (isStopped = true))
  const results: SuiteResult[] = []
  for (const major of options.majors) {
    if (isStopped) break
    const { release } = await installPostgres(major)
    note(`PostgreSQL ${release} …`)
    const result = await runSuite(major, release, options.files)
    const { count, seconds } = result
    note(
      count
        ? `${count.passed} passed, ${count.failed} failed, ${count.skipped} skipped`
        : 'The run broke off',
    )
    note(`after ${seconds} s; ${result.logFile}`)
    results.push(result)
  }
  process.stdout.write(`${matrixReport(results)}\n`)
  if (isStopped || results.some(({ isOk }) => !isOk)) process.exitCode = 1
}

try {
  await main()
} catch (error) {
  note(`Error: ${(error as Error).message}`)
  process.exitCode = error instanceof QueueError && error.usage ? 2 : 1
}
