import { measureBound } from '../queues/bound.js'
import { type Drained, measureDrain } from '../queues/measure.js'
import { groupedPgbq, PGBQ_KIND } from '../queues/pgbq-queue.js'
import type { QueueKind } from '../queues/queue.js'
import { ONE_ROW } from '../queues/workload.js'
import {
  type Bench,
  BOSS_TRANSACTIONS,
  GRAPHILE_BATCHES,
  GRAPHILE_DEFAULTS,
  inTurn,
  type Scenario,
} from './scenario.js'

const SMALL = 20_000
const LARGE = 200_000
const LARGE_AMONG_ALL = 30_000

export const drain: Scenario = {
  name: 'drain',
  about: '20,000 and 200,000 waiting one-row INSERTs, one commit each, beside the bound and the others',
  async run(bench) {
    const { options, peers } = bench
    const kinds = [PGBQ_KIND, grouped(bench)]
    await drainAll(bench, bench.scaled(SMALL, 40), [...kinds, ...peers], options.rounds)
    // the slow ones would take minutes each
    const fast = peers.filter(({ name }) => options.isNamed && name !== GRAPHILE_DEFAULTS)
    const rounds = options.isNamed ? options.rounds : 1
    await drainAll(bench, bench.scaled(LARGE, 80, LARGE_AMONG_ALL), [...kinds, ...fast], rounds)
  },
}

export const grouped = ({ options }: Bench): QueueKind => groupedPgbq(options.group)

async function drainAll(bench: Bench, count: number, kinds: QueueKind[], rounds: number): Promise<void> {
  const { server, bound, options, figures } = bench
  const title = `${count} INSERTs, ${options.slots} slots`
  const contestants = [
    { name: bound.name, run: () => measureBound(server, bound, count, options.slots) },
    ...kinds.map((kind) => ({
      name: kind.name,
      run: () => measureDrain(server, kind, { count, template: ONE_ROW }, options.slots),
    })),
  ]
  await inTurn(rounds, contestants, async ({ name, run }, round) => {
    bench.note(`  round ${round + 1}: ${title}: ${name}`)
    addDrained(bench, round, title, name, await run())
  })
  addBars(bench, title)
  for (const what of ['WAL bytes/task', 'fsyncs/task', 'dead rows/task']) {
    const beside = { who: GRAPHILE_DEFAULTS, by: 'ratio' as const }
    if (kinds.some(({ name }) => name === GRAPHILE_DEFAULTS))
      figures.bar({ case: title, who: 'pgbq', what, beside, atMost: 1 })
  }
}

function addDrained({ figures }: Bench, round: number, title: string, who: string, drained: Drained): void {
  figures.add(round, { case: title, who, what: 'tasks/s' }, drained.rate)
  for (const [what, value] of Object.entries(drained.cost)) {
    if (value !== null) figures.add(round, { case: title, who, what }, value)
  }
}

function addBars(bench: Bench, title: string): void {
  const { figures, bound } = bench
  const bar = (who: string, other: string, atLeast: number, goal?: number): void =>
    figures.bar({
      case: title,
      who,
      what: 'tasks/s',
      beside: { who: other, by: 'ratio' },
      atLeast,
      ...(goal === undefined ? {} : { goal }),
    })
  bar('pgbq', bound.name, 0.4, 0.5)
  if (bench.peers.length > 0) {
    bar('pgbq', GRAPHILE_DEFAULTS, 2)
    bar('pgbq', GRAPHILE_BATCHES, 0.8, 1)
  }
  const { name } = grouped(bench)
  bar(name, bound.name, 2.5)
  if (bench.peers.length > 0) {
    bar(name, GRAPHILE_BATCHES, 4)
    bar(name, BOSS_TRANSACTIONS, 2.5)
  }
}
