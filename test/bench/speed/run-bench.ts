import { findBound } from '../queues/bound.js'
import { peerKinds } from '../queues/peer-queue.js'
import type { QueueKind } from '../queues/queue.js'
import { SCENARIOS } from '../scenarios/all.js'
import type { Bench, Scenario } from '../scenarios/scenario.js'
import type { BenchServer } from '../server.js'
import { installPeers } from '../systems/peer-packages.js'
import type { BenchOptions } from './bench-options.js'
import { Figures, type Series, type Verdict } from './figures.js'

/** What one scenario found; `error` if it did not come to its end. */
export interface ScenarioResult {
  name: string
  seconds: number
  figures: Series[]
  bars: Verdict[]
  error?: string
}

type Note = (message: string) => void

/** Runs the scenarios one after the other; `report` gets each as it ends. Errors: none of a scenario's own. */
export async function runBench(
  server: BenchServer,
  options: BenchOptions,
  note: Note,
  report: (result: ScenarioResult) => void,
): Promise<ScenarioResult[]> {
  const bound = await findBound()
  const peers = options.withPeers ? await findPeers(note) : []
  const results: ScenarioResult[] = []
  for (const scenario of SCENARIOS.filter(({ name }) => options.only.includes(name))) {
    const scaled = (count: number, least: number, amongAll = count): number =>
      Math.max(Math.round((options.isNamed ? count : amongAll) * options.scale), least)
    const bench = { server, options, bound, peers, figures: new Figures(), note, scaled }
    const result = await runOne(scenario, bench)
    results.push(result)
    report(result)
  }
  return results
}

async function runOne(scenario: Scenario, bench: Bench): Promise<ScenarioResult> {
  bench.note(`${scenario.name}: ${scenario.about}`)
  const startedAt = performance.now()
  let error: string | undefined
  try {
    await scenario.run(bench)
  } catch (cause) {
    error = (cause as Error).message
  }
  return {
    name: scenario.name,
    seconds: (performance.now() - startedAt) / 1000,
    figures: bench.figures.series(),
    bars: bench.figures.verdicts(),
    ...(error === undefined ? {} : { error }),
  }
}

async function findPeers(note: Note): Promise<QueueKind[]> {
  try {
    return peerKinds(await installPeers(note))
  } catch (error) {
    note(`Without the other queues, for they cannot be installed: ${(error as Error).message}`)
    return []
  }
}
