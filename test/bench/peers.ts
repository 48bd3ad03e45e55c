import { join } from 'node:path'
import { QueueError } from '#pgbq/engine/errors'
import { type KilledSystem, killChildren } from './child-kill.js'
import { shortCommit } from './commit.js'
import { onInterrupt } from './interrupt.js'
import type { Outcome } from './outcome.js'
import { PACKAGE_ROOT } from './package-root.js'
import { type PeersOptions, readOptions, USAGE } from './peers-options.js'
import { type Origin, peersMarkdown, peersTable } from './peers-report.js'
import { writeBetweenMarks } from './readme.js'
import { type BenchServer, openServer } from './server.js'
import { graphileWorker, pgBoss } from './systems/peer.js'
import { installPeers } from './systems/peer-packages.js'
import { Pgbq } from './systems/pgbq.js'
import type { System } from './systems/system.js'

const note = (message: string): void => void process.stderr.write(`${message}\n`)

/** One after the other under load and kills; then all are watched together, for a watch may be long. */
async function measure(
  server: BenchServer,
  options: PeersOptions,
  interrupted: Promise<never>,
): Promise<Outcome[]> {
  const systems = await makeSystems(options)
  try {
    return await Promise.race([interrupted, run(server, systems, options)])
  } finally {
    await Promise.all(systems.map((system) => system.stop()))
  }
}

async function run(server: BenchServer, systems: System[], options: PeersOptions): Promise<Outcome[]> {
  const killed: KilledSystem[] = []
  for (const system of systems) {
    note(`${system.name} ${system.version}: ${options.tasks} tasks, ${options.kills} kills`)
    killed.push(await killChildren(system, await server.createDatabase(), options))
  }
  note(`Watching for at most ${options.watchMs / 1000} s after each system's last kill`)
  return Promise.all(killed.map(({ watch }) => watch()))
}

async function makeSystems({ systems }: PeersOptions): Promise<System[]> {
  const ours = systems.filter((name) => name === 'pgbq').map(() => new Pgbq())
  if (systems.every((name) => name === 'pgbq')) return ours
  const packages = await installPeers(note)
  const make = { 'graphile-worker': graphileWorker, 'pg-boss': pgBoss }
  const peers = (['graphile-worker', 'pg-boss'] as const).filter((name) => systems.includes(name))
  return [...ours, ...peers.map((name) => make[name](packages))]
}

function originOf(server: BenchServer): Origin {
  return { commit: shortCommit(), date: new Date().toISOString().slice(0, 10), postgres: server.version }
}

async function main(): Promise<void> {
  const options = readOptions(process.argv.slice(2))
  if (options === undefined) return void process.stdout.write(`${USAGE}\n`)
  const interrupted = onInterrupt()
  const server = await openServer(options.databaseUrl)
  try {
    const outcomes = await measure(server, options, interrupted)
    const { watchMs, seed, workers } = options
    const text = options.json
      ? JSON.stringify({ seed, workers, watchMs, postgres: server.version, outcomes }, null, 2)
      : peersTable(outcomes, watchMs)
    process.stdout.write(`${text}\n`)
    if (!options.readme) return
    writeBetweenMarks(
      join(PACKAGE_ROOT, 'README.md'),
      'peers',
      peersMarkdown(outcomes, options, originOf(server)),
    )
  } finally {
    await server.close()
  }
}

try {
  await main()
} catch (error) {
  note(`Error: ${(error as Error).message}`)
  process.exitCode = error instanceof QueueError && error.usage ? 2 : 1
}
