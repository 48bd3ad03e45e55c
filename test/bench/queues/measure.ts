import type { Database } from '#pgbq/engine/database/database'
import type { BenchDatabase, BenchServer } from '../server.js'
import { type CostPerTask, startCost } from '../speed/server-cost.js'
import { until } from '../speed/until.js'
import type { Queue, QueueKind } from './queue.js'
import { createEffects, expectedRows, type Workload } from './workload.js'

/** How fast tasks were done, by the rows that they wrote, each exactly once. */
export interface Drained {
  /** tasks a second between the first row and the last */
  rate: number
  cost: CostPerTask
}

export interface DrainHooks {
  /** in the database, once the queue is installed */
  prepare?: (queue: Queue, database: BenchDatabase) => Promise<void>
  /** once, when half of the tasks are done */
  halfway?: (queue: Queue) => Promise<void>
  /** when all are done, before the database is dropped */
  after?: (database: BenchDatabase) => Promise<void>
}

/** Fills a queue in a database of its own, and only then lets its workers begin. */
export async function measureDrain(
  server: BenchServer,
  kind: QueueKind,
  work: Workload,
  slots: number,
  hooks: DrainHooks = {},
): Promise<Drained> {
  const database = await server.createDatabase()
  const queue = kind.make()
  try {
    await createEffects(database.session)
    await queue.install(database)
    await hooks.prepare?.(queue, database)
    await queue.fill(work)
    await settle(database.session)
    const cost = await startCost(database.session)
    await drain(queue, database.session, work, slots, hooks.halfway)
    const rate = await rateOf(database.session, work)
    await hooks.after?.(database)
    return { rate, cost: await cost(work.count) }
  } finally {
    await queue.stop()
    await database.drop()
  }
}

/** After a bulk load: what the server would do about it later is done now. */
export async function settle(session: Database): Promise<void> {
  await session.query('vacuum (analyze)')
  await session.query('checkpoint')
}

/** Lets the workers do what waits. Resolves when all is done by the rows, and by the queue's own books. */
async function drain(
  queue: Queue,
  session: Database,
  load: Workload,
  slots: number,
  halfway?: (queue: Queue) => Promise<void>,
): Promise<void> {
  await work(queue, session, load, slots, halfway)
  await until('The unfinished tasks', 0, () => queue.unfinished())
  await queue.stop()
}

/** Starts the workers. Resolves when the tasks have left their rows; whatever else waits goes on waiting. */
export async function work(
  queue: Queue,
  session: Database,
  load: Workload,
  slots: number,
  halfway?: (queue: Queue) => Promise<void>,
): Promise<void> {
  const rows = expectedRows(load)
  let isHalfway = false
  await queue.start(slots)
  const look = async (): Promise<number> => {
    queue.pid()
    return countRows(session)
  }
  await until('The rows of the tasks', rows, look, async (count) => {
    if (isHalfway || count < rows / 2) return
    isHalfway = true
    await halfway?.(queue)
  })
}

const countRows = async (session: Database): Promise<number> =>
  (await session.one<{ count: number }>('select count(*)::integer as count from effects')).count

/** Tasks a second, by the times that the tasks wrote. Errors: a task has no row, or two. */
export async function rateOf(session: Database, work: Workload): Promise<number> {
  const facts = await session.one<{ rows: number; tasks: number; last: number; seconds: number }>(
    `select count(*)::integer as rows, count(distinct n)::integer as tasks, max(n) as last,
       extract(epoch from max(at) - min(at))::double precision as seconds from effects`,
  )
  const expected = expectedRows(work)
  if (facts.rows !== expected || facts.tasks !== expected) {
    throw new Error(`${expected} tasks left ${facts.rows} rows, of ${facts.tasks} different tasks`)
  }
  return (facts.last - 1) / facts.seconds
}
