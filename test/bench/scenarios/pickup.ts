import { setTimeout as sleep } from 'node:timers/promises'
import type { QueryResult } from 'pg'
import type { Database } from '#pgbq/engine/database/database'
import { PGBQ_KIND } from '../queues/pgbq-queue.js'
import type { Queue, QueueKind } from '../queues/queue.js'
import { createEffects } from '../queues/workload.js'
import type { BenchServer } from '../server.js'
import { percentile } from '../speed/statistics.js'
import { until } from '../speed/until.js'
import { GRAPHILE_DEFAULTS, inTurn, type Scenario } from './scenario.js'

const TASKS = 300
/** not counted: plans, caches and connections are made */
const WARM_UP = 20
const EVERY_MS = 25
const NOISE_EVERY_MS = 10

export const pickup: Scenario = {
  name: 'pickup',
  about: "from the enqueue's commit to the start of the task's SQL, idle and among 100 enqueues a second",
  async run(bench) {
    const { server, options, figures } = bench
    const count = bench.scaled(TASKS, 10)
    const kinds = [PGBQ_KIND, ...bench.peers.filter(({ name }) => name === GRAPHILE_DEFAULTS)]
    for (const title of ['idle', '100 enqueues/s beside it']) {
      await inTurn(options.rounds, kinds, async (kind, round) => {
        bench.note(`  round ${round + 1}: ${title}: ${kind.name}`)
        const latencies = await measureLatencies(server, kind, count, options.slots, title !== 'idle')
        for (const [what, share] of [
          ['p50 ms', 0.5],
          ['p95 ms', 0.95],
          ['p99 ms', 0.99],
        ] as const) {
          figures.add(round, { case: title, who: kind.name, what }, percentile(latencies, share))
          const beside = { who: GRAPHILE_DEFAULTS, by: 'difference' as const }
          figures.bar({ case: title, who: 'pgbq', what, beside, atMost: 1 })
        }
      })
    }
  },
}

/** Milliseconds, one a task after the first few; both ends by the server's clock. */
async function measureLatencies(
  server: BenchServer,
  kind: QueueKind,
  count: number,
  slots: number,
  isNoisy: boolean,
): Promise<number[]> {
  const database = await server.createDatabase()
  const { session } = database
  const noise = await database.connect()
  const queue = kind.make()
  try {
    await createEffects(session)
    await queue.install(database)
    await queue.start(slots)
    const stopNoise = isNoisy ? makeNoise(noise, queue) : async () => undefined
    const committed: string[] = []
    for (let n = 0; n < WARM_UP + count; n++) {
      committed.push(await enqueueOne(session, queue, n))
      await sleep(EVERY_MS)
    }
    await stopNoise()
    await until('The rows of the tasks', committed.length, async () => (await readRows(session)).length)
    return await latenciesOf(session, committed)
  } finally {
    await queue.stop()
    await noise.close()
    await database.drop()
  }
}

/** The server's time right after the commit: in one message, so that no way to the client and back lies between. */
async function enqueueOne({ client }: Database, queue: Queue, n: number): Promise<string> {
  const enqueue = queue.enqueueSql(`insert into effects (n) values (${n})`)
  const results = (await client.query(
    `begin; ${enqueue}; commit; select clock_timestamp()::text as at`,
  )) as unknown as QueryResult<{ at: string }>[]
  return results.at(-1)!.rows[0]!.at
}

const readRows = (session: Database) => session.query<{ n: number }>('select n from effects')

async function latenciesOf(session: Database, committed: string[]): Promise<number[]> {
  const rows = await session.query<{ n: number; ms: number }>(
    `select e.n, (extract(epoch from e.at - c.at) * 1000)::double precision as ms
     from effects e join unnest($1::timestamptz[]) with ordinality c(at, n) on c.n = e.n + 1`,
    [committed],
  )
  if (new Set(rows.map(({ n }) => n)).size !== committed.length || rows.length !== committed.length) {
    throw new Error(`${committed.length} tasks left ${rows.length} rows`)
  }
  return rows.filter(({ n }) => n >= WARM_UP).map(({ ms }) => ms)
}

/** Tasks that do nothing, at a steady pace; resolves when the last is enqueued. */
function makeNoise(session: Database, queue: Queue): () => Promise<void> {
  let [isOver, last] = [false, Promise.resolve()]
  const startedAt = performance.now()
  last = (async () => {
    for (let i = 1; !isOver; i++) {
      await session.query(queue.enqueueSql('select 1'))
      await sleep(Math.max(startedAt + i * NOISE_EVERY_MS - performance.now(), 0))
    }
  })()
  return () => {
    isOver = true
    return last
  }
}
