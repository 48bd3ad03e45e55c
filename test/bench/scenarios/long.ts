import { setTimeout as sleep } from 'node:timers/promises'
import type { Database } from '#pgbq/engine/database/database'
import { PgbqQueue } from '../queues/pgbq-queue.js'
import type { BenchDatabase } from '../server.js'
import { canReadUsage, childrenOf, memoryOf } from '../speed/process-usage.js'
import { mean, percentile } from '../speed/statistics.js'
import { until } from '../speed/until.js'
import type { Bench, Scenario } from './scenario.js'

const SECONDS = 1800
const STEP_MS = 20
const LOOKS = 90
/** A twentieth of the run, so that from then on as many tasks are pruned as are closed. */
const KEPT_SHARE = 20

export const long: Scenario = {
  name: 'long',
  about:
    '30 minutes of 500 tasks a second (--rate) with pruning on: nothing may grow from the second third to the last',
  isLong: true,
  async run(bench) {
    const { rate } = bench.options
    const seconds = bench.scaled(SECONDS, 6)
    const database = await bench.server.createDatabase()
    const queue = new PgbqQueue({ retention_in_days: (seconds / KEPT_SHARE / 86_400).toFixed(9) })
    const writer = await database.connect()
    try {
      await database.session.query(
        `create table effects (n integer not null, asked timestamptz not null,
           at timestamptz not null default clock_timestamp());
         create index on effects (at)`,
      )
      await queue.install(database)
      await queue.start(bench.options.slots)
      const looks: Look[] = []
      const [asked] = await Promise.all([
        write(writer, seconds, rate),
        lookAgain(bench, database, queue, seconds, looks),
      ])
      await until('The unfinished tasks', 0, () => queue.unfinished())
      await checkEffects(database.session, asked)
      judge(bench, `${seconds} s of ${rate} tasks/s`, looks)
    } finally {
      await queue.stop()
      await writer.close()
      await database.drop()
    }
  },
}

/** Enqueues at a steady pace; what a slow moment left undone is caught up. Resolves with how many. */
async function write(session: Database, seconds: number, rate: number): Promise<number> {
  const startedAt = performance.now()
  let asked = 0
  for (let elapsed = 0; elapsed < seconds; elapsed = (performance.now() - startedAt) / 1000) {
    const due = Math.floor(Math.min(elapsed, seconds) * rate)
    if (due > asked) await enqueue(session, asked + 1, due)
    asked = Math.max(asked, due)
    await sleep(STEP_MS)
  }
  return asked
}

const enqueue = (session: Database, first: number, last: number) =>
  session.query(
    `select pg_background_enqueue(format('insert into effects (n, asked) values (%s, %L)', g, clock_timestamp()))
     from generate_series(${first}, ${last}) g`,
  )

/** By the unit in which it is printed. */
type Look = Record<string, number>

async function lookAgain(
  bench: Bench,
  { session }: BenchDatabase,
  queue: PgbqQueue,
  seconds: number,
  looks: Look[],
): Promise<void> {
  for (let i = 0; i < LOOKS; i++) {
    await sleep((seconds * 1000) / LOOKS)
    if (i % (LOOKS / 9) === 0) bench.note(`  ${Math.round((i / LOOKS) * 100)} %`)
    looks.push({ ...(await lookAtTable(session, seconds / LOOKS)), ...lookAtMemory(queue.pid()!) })
  }
}

async function lookAtTable(session: Database, seconds: number): Promise<Look> {
  const sizes = await session.one<Look>(
    `select pg_table_size('pg_background_tasks') / 2^20 as "table MB",
       pg_indexes_size('pg_background_tasks') / 2^20 as "indexes MB",
       (select n_dead_tup::double precision from pg_stat_all_tables
        where relid = 'pg_background_tasks'::regclass) as "dead rows"`,
  )
  const latencies = await session.query<{ ms: number }>(
    `select (extract(epoch from at - asked) * 1000)::double precision as ms from effects
     where at > clock_timestamp() - $1 * interval '1 second'`,
    [seconds],
  )
  const ms = latencies.map((row) => row.ms)
  return ms.length === 0
    ? sizes
    : { ...sizes, 'latency p50 ms': percentile(ms, 0.5), 'latency p95 ms': percentile(ms, 0.95) }
}

function lookAtMemory(pid: number): Look {
  if (!canReadUsage) return {}
  const children = childrenOf(pid).map((child) => memoryOf(child).pss)
  return {
    'supervisor PSS MB': memoryOf(pid).pss,
    ...(children.length > 0 ? { 'PSS MB/child': mean(children) } : {}),
  }
}

async function checkEffects(session: Database, asked: number): Promise<void> {
  const { rows, tasks } = await session.one<{ rows: number; tasks: number }>(
    'select count(*)::integer as rows, count(distinct n)::integer as tasks from effects',
  )
  if (rows !== asked || tasks !== asked) {
    throw new Error(`${asked} tasks left ${rows} rows, of ${tasks} different tasks`)
  }
}

/** The mean of each third; the first is warming up. */
function judge({ figures }: Bench, title: string, looks: Look[]): void {
  const third = Math.floor(looks.length / 3)
  const parts = { 'second third': looks.slice(third, 2 * third), 'last third': looks.slice(2 * third) }
  for (const what of new Set(looks.flatMap((look) => Object.keys(look)))) {
    for (const [who, part] of Object.entries(parts)) {
      const values = part.flatMap((look) => look[what] ?? [])
      if (values.length > 0) figures.add(0, { case: title, who, what }, mean(values))
    }
    const beside = { who: 'second third', by: 'ratio' as const }
    figures.bar({ case: title, who: 'last third', what, beside, atMost: 1.1 })
  }
}
