import { fork } from 'node:child_process'
import { join } from 'node:path'
import type { Database } from '#pgbq/engine/database/database'
import { PACKAGE_ROOT } from '../package-root.js'
import { exitOf } from '../queues/bound.js'
import { measureDrain } from '../queues/measure.js'
import { PGBQ_KIND, PgbqQueue } from '../queues/pgbq-queue.js'
import { createEffects, ONE_ROW } from '../queues/workload.js'
import type { BenchDatabase } from '../server.js'
import { canReadUsage, childrenOf, memoryOf } from '../speed/process-usage.js'
import { mean, median } from '../speed/statistics.js'
import { until } from '../speed/until.js'
import { PgbqWork } from '../systems/pgbq-work.js'
import { type Bench, inTurn, type Scenario } from './scenario.js'

const TASKS = 10_000
const AMONG_ALL = 2000
const SLOTS = [1, 4, 16, 64]
const STARTS = 5
const CONNECT = join(PACKAGE_ROOT, 'test', 'bench', 'queues', 'programs', 'connect.js')

export const slots: Scenario = {
  name: 'slots',
  about: '1, 4, 16 and 64 slots: rate and memory; the start of a slot beside a bare process that connects',
  async run(bench) {
    await measureMemory(bench)
    await measureStarts(bench)
  },
}

async function measureMemory(bench: Bench): Promise<void> {
  const { server, options, figures } = bench
  const count = bench.scaled(TASKS, 100, AMONG_ALL)
  await inTurn(options.rounds, SLOTS, async (slots_, round) => {
    const title = `${slots_} slots`
    bench.note(`  round ${round + 1}: ${title}`)
    const add = (what: string, value: number): void =>
      figures.add(round, { case: title, who: 'pgbq', what }, value)
    const { rate } = await measureDrain(server, PGBQ_KIND, { count, template: ONE_ROW }, slots_, {
      async halfway(queue) {
        if (!canReadUsage) return
        const pid = queue.pid()!
        add('supervisor RSS MB', memoryOf(pid).rss)
        add('supervisor PSS MB', memoryOf(pid).pss)
        add('PSS MB/child', mean(childrenOf(pid).map((child) => memoryOf(child).pss)))
      },
    })
    add('tasks/s', rate)
    figures.bar({ case: title, who: 'pgbq', what: 'supervisor RSS MB', atMost: 80 })
    // of four children: a lone one has nobody to share with
    if (slots_ === 4) figures.bar({ case: title, who: 'pgbq', what: 'PSS MB/child', atMost: 30 })
  })
}

/** From an enqueue to the task's SQL, where no worker is there yet; beside a process that connects and does the same. */
async function measureStarts(bench: Bench): Promise<void> {
  const { server, options, figures } = bench
  const title = 'start of a slot'
  const database = await server.createDatabase()
  const queue = new PgbqQueue()
  try {
    await createEffects(database.session)
    await queue.install(database)
    for (let round = 0; round < options.rounds; round++) {
      bench.note(`  round ${round + 1}: ${title}`)
      const [bare, ours]: [number[], number[]] = [[], []]
      for (let i = 0; i < bench.scaled(STARTS, 1); i++) {
        bare.push(await startBare(database))
        ours.push(await startSlot(database, queue))
      }
      figures.add(round, { case: title, who: 'bare fork', what: 'ms' }, median(bare))
      figures.add(round, { case: title, who: 'pgbq', what: 'ms' }, median(ours))
    }
  } finally {
    await database.drop()
  }
  const beside = { who: 'bare fork', by: 'difference' as const }
  figures.bar({ case: title, who: 'pgbq', what: 'ms', beside, atMost: 50 })
}

function startBare({ url, session }: BenchDatabase): Promise<number> {
  return msToRow(session, async () => exitOf(fork(CONNECT, { env: { ...process.env, BENCH_URL: url } })))
}

async function startSlot({ url, session }: BenchDatabase, queue: PgbqQueue): Promise<number> {
  const work = await PgbqWork.start(url, ['--concurrency', '1', '--warm', '0'])
  try {
    return await msToRow(session, async () => {
      await session.query(queue.enqueueSql(ONE_ROW.replace('{n}', '0')))
    })
  } finally {
    await work.stop()
  }
}

/** Milliseconds to the one row that this brings about, by the server's clock. */
async function msToRow(session: Database, bringAbout: () => Promise<void>): Promise<number> {
  await session.query('truncate effects')
  const { at } = await session.one<{ at: string }>('select clock_timestamp() as at')
  await bringAbout()
  const count = 'select count(*)::integer as count from effects'
  await until('The row', 1, async () => (await session.one<{ count: number }>(count)).count)
  const { ms } = await session.one<{ ms: number }>(
    'select (extract(epoch from at - $1::timestamptz) * 1000)::double precision as ms from effects',
    [at],
  )
  return ms
}
