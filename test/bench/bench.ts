import { QueueError } from '#pgbq/engine/errors'
import { onInterrupt } from './interrupt.js'
import { SCENARIOS } from './scenarios/all.js'
import { openServer } from './server.js'
import { type BenchOptions, readBenchOptions } from './speed/bench-options.js'
import { resultText, type Surroundings, surroundingsText } from './speed/bench-report.js'
import { describeMachine, describeVersions, readSettings } from './speed/machine.js'
import { runBench } from './speed/run-bench.js'

const note = (message: string): void => void process.stderr.write(`${message}\n`)
const print = (text: string): void => void process.stdout.write(`${text}\n`)

async function measure(options: BenchOptions): Promise<void> {
  const interrupted = onInterrupt()
  const server = await openServer(options.databaseUrl)
  try {
    const around: Surroundings = {
      machine: describeMachine(),
      versions: describeVersions(server),
      settings: await readSettings(server, options.anySettings),
    }
    if (!options.json) print(surroundingsText(around))
    const results = await Promise.race([
      interrupted,
      runBench(server, options, note, (result) => options.json || print(resultText(result))),
    ])
    const { databaseUrl: _, ...shown } = options // it may hold a password
    if (options.json) print(JSON.stringify({ ...around, options: shown, scenarios: results }, null, 2))
    if (results.some(({ error }) => error !== undefined)) process.exitCode = 1
  } finally {
    await server.close()
  }
}

try {
  const options = readBenchOptions(process.argv.slice(2), SCENARIOS)
  await (typeof options === 'string' ? print(options) : measure(options))
} catch (error) {
  note(`Error: ${(error as Error).message}`)
  process.exit(error instanceof QueueError && error.usage ? 2 : 1)
}
