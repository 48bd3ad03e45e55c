import { rateOf, settle, work as workOff } from '../queues/measure.js'
import { PgbqQueue } from '../queues/pgbq-queue.js'
import { createEffects, ONE_ROW, type Workload } from '../queues/workload.js'
import type { BenchDatabase, BenchServer } from '../server.js'
import { type Bench, inTurn, type Scenario } from './scenario.js'

const TASKS = 5000
const AMONG_ALL = 1500
const ROWS = 1_000_000
const TOPICS = 10_000
const LEAST_ROUNDS = 5
const TOMORROW = "now() + interval '1 day'"

/** What is in the table beside the tasks that are drained. */
interface Ballast {
  title: string
  load(queue: PgbqQueue, database: BenchDatabase, rows: number): Promise<void>
  /** slots that it keeps for itself */
  slots?: number
  topics?: number
}

const closed: Ballast = {
  title: 'closed',
  load: (_, database, rows) =>
    insert(
      database,
      rows,
      'sql_statement, state, started_at, closed_at, lane',
      `'done', 'finished', now(), now(), ''`,
    ),
}
const saturated: Ballast = {
  title: 'in a saturated topic',
  slots: 1,
  async load(queue, database, rows) {
    await queue.set('max_parallel_running_tasks_count', '1', 'saturated')
    // it is claimed before all others, and saturates its topic while they are drained
    await database.session.query(
      `select pg_background_enqueue('select pg_sleep(86400)', 'saturated', '{"priority": -1}')`,
    )
    await insert(database, rows, 'sql_statement, topic, lane', `'select 1', 'saturated', '/saturated'`)
  },
}
const paused: Ballast = {
  title: 'in a paused topic',
  async load(queue, database, rows) {
    await queue.set('paused', 'true', 'paused')
    await insert(database, rows, 'sql_statement, topic, lane', `'select 1', 'paused', '/paused'`)
  },
}
const tomorrow: Ballast = {
  title: 'due tomorrow, first',
  load: (_, database, rows) =>
    insert(database, rows, 'sql_statement, priority, run_at, lane', `'select 1', 1, ${TOMORROW}, ''`),
}
const topics: Ballast = {
  title: `in ${TOPICS} topics`,
  topics: TOPICS,
  load: (_, database, rows) =>
    insert(
      database,
      Math.min(rows, TOPICS),
      'sql_statement, topic, run_at, lane',
      `'select 1', 'topic ' || g % ${TOPICS}, ${TOMORROW}, ''`,
    ),
}
const ALL = [closed, saturated, paused, tomorrow, topics]
const together: Ballast = {
  title: 'all together',
  slots: 1,
  topics: TOPICS,
  async load(queue, database, rows) {
    for (const ballast of ALL) await ballast.load(queue, database, rows)
  },
}
const empty: Ballast = { title: 'empty table', load: async () => undefined }

export const growth: Scenario = {
  name: 'growth',
  about: 'the drain rate beside a million closed, saturated, paused or future tasks, and 10,000 topics',
  async run(bench) {
    const { server, options, figures } = bench
    const rows = bench.scaled(ROWS, 100)
    const fields: Field[] = []
    try {
      for (const ballast of [empty, ...ALL, together]) {
        bench.note(`  loading ${rows} rows: ${ballast.title}`)
        fields.push(await makeField(server, ballast, rows))
      }
      const rounds = options.rounds === 1 ? 1 : Math.max(options.rounds, LEAST_ROUNDS)
      const title = `drain beside ${rows} tasks`
      await inTurn(rounds, fields, async (field, round) => {
        bench.note(`  round ${round + 1}: ${field.ballast.title}`)
        const figure = { case: title, who: field.ballast.title, what: 'tasks/s' }
        figures.add(round, figure, await drainField(bench, field))
      })
      for (const { title: who } of [...ALL, together]) {
        const beside = { who: empty.title, by: 'ratio' as const }
        figures.bar({ case: title, who, what: 'tasks/s', beside, atLeast: 0.8, goal: 0.95 })
      }
    } finally {
      for (const { database } of fields) await database.drop()
    }
  },
}

interface Field {
  ballast: Ballast
  database: BenchDatabase
  queue: PgbqQueue
}

async function makeField(server: BenchServer, ballast: Ballast, rows: number): Promise<Field> {
  const database = await server.createDatabase()
  const queue = new PgbqQueue({}, ['--shutdown-timeout', '0s'])
  await createEffects(database.session)
  await queue.install(database)
  await ballast.load(queue, database, rows)
  return { ballast, database, queue }
}

/** Straight into the table, with the lane that its topic has; the note that all are woken spares a million triggers. */
async function insert(
  { session }: BenchDatabase,
  rows: number,
  columns: string,
  values: string,
): Promise<void> {
  await session.transaction(async () => {
    await session.query(`select set_config('background_queue.woken', pg_current_xact_id()::text, true)`)
    await session.query(
      `insert into pg_background_tasks (${columns}) select ${values} from generate_series(1, ${rows}) g`,
    )
  })
}

async function drainField(bench: Bench, { ballast, database, queue }: Field): Promise<number> {
  const { session } = database
  const work: Workload = {
    count: bench.scaled(TASKS, 50, AMONG_ALL),
    template: ONE_ROW,
    ...(ballast.topics === undefined ? {} : { topic: ballast.topics }),
  }
  try {
    await session.query('truncate effects')
    await queue.fill(work)
    await settle(session)
    await workOff(queue, session, work, bench.options.slots + (ballast.slots ?? 0))
    return await rateOf(session, work)
  } finally {
    await queue.stop()
  }
}
