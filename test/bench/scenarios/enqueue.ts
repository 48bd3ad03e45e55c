import { PgbqQueue } from '../queues/pgbq-queue.js'
import type { BenchDatabase } from '../server.js'
import { timeOnServer } from '../speed/server-time.js'
import { type Bench, inTurn, type Scenario } from './scenario.js'

const ONE_BY_ONE = 3000
const BULK = 100_000
const SESSIONS = 8

/** A way to add a task, and the table where it then is. */
interface Way {
  who: string
  database: BenchDatabase
  sql: string
  table: 'pg_background_tasks' | 'bare'
}

export const enqueue: Scenario = {
  name: 'enqueue',
  about: 'from SQL: one by one, from 8 sessions, 100,000 in one statement, beside a bare INSERT',
  async run(bench) {
    // workers that are busy, as in a queue whose enqueues come in numbers
    const busy = [new PgbqQueue({}, ['--shutdown-timeout', '0s']), new PgbqQueue()]
    const [notifying, silent] = [await bench.server.createDatabase(), await bench.server.createDatabase()]
    try {
      await busy[0]!.install(notifying)
      await busy[1]!.install(silent)
      await silent.session.query('alter table pg_background_tasks disable trigger tasks_wake')
      await createBareTable(notifying)
      await occupy(busy[0]!, notifying, bench.options.slots)
      const ways = waysOf(notifying, silent)
      await addOneByOne(bench, ways, 1)
      await addOneByOne(bench, ways, SESSIONS)
      await addInBulk(bench, notifying)
    } finally {
      await busy[0]!.stop()
      await notifying.drop()
      await silent.drop()
    }
  },
}

/** Equal to the queue's: columns, defaults, indexes, checks; but no triggers. */
const createBareTable = ({ session }: BenchDatabase) =>
  session.query('create table bare (like pg_background_tasks including all)')

async function occupy(queue: PgbqQueue, { session }: BenchDatabase, slots: number): Promise<void> {
  await queue.fill({ count: slots, template: 'select pg_sleep(86400)' })
  await queue.start(slots)
  const count = "select count(*)::integer as count from pg_background_tasks where state = 'running'"
  while ((await session.one<{ count: number }>(count)).count < slots) queue.pid()
}

const waysOf = (notifying: BenchDatabase, silent: BenchDatabase): Way[] => {
  const sql = `select pg_background_enqueue('select 1')`
  return [
    { who: 'pgbq', database: notifying, sql, table: 'pg_background_tasks' },
    { who: 'pgbq without NOTIFY', database: silent, sql, table: 'pg_background_tasks' },
    {
      who: 'bare INSERT',
      database: notifying,
      sql: `insert into bare (sql_statement, lane) values ('select 1', '')`,
      table: 'bare',
    },
  ]
}

async function addOneByOne(bench: Bench, ways: Way[], sessions: number): Promise<void> {
  const { figures, options } = bench
  const title = sessions === 1 ? 'one by one' : `${sessions} sessions`
  const each = bench.scaled(sessions === 1 ? ONE_BY_ONE : ONE_BY_ONE / 2, 20)
  await inTurn(options.rounds, ways, async (way, round) => {
    bench.note(`  round ${round + 1}: ${title}: ${way.who}`)
    figures.add(round, { case: title, who: way.who, what: 'tasks/s' }, await rateOf(way, sessions, each))
  })
  for (const who of sessions === 1 ? ['bare INSERT'] : ['pgbq without NOTIFY']) {
    figures.bar({
      case: title,
      who: 'pgbq',
      what: 'tasks/s',
      beside: { who, by: 'ratio' },
      atLeast: 0.8,
    })
  }
}

/** By joined_at, which is each statement's own time. */
async function rateOf({ database, sql, table }: Way, sessions: number, each: number): Promise<number> {
  const { first } = await database.session.one<{ first: bigint }>(
    `select coalesce(max(id), 0) + 1 as first from ${table}`,
  )
  const open = await Promise.all(Array.from({ length: sessions }, () => database.connect()))
  try {
    await Promise.all(
      open.map(async (session) => {
        for (let i = 0; i < each; i++) await session.query(sql)
      }),
    )
  } finally {
    await Promise.all(open.map((session) => session.close()))
  }
  const { rows, seconds } = await database.session.one<{ rows: number; seconds: number }>(
    `select count(*)::integer as rows, extract(epoch from max(joined_at) - min(joined_at))::double precision
       as seconds from ${table} where id >= $1`,
    [first],
  )
  if (rows !== sessions * each) throw new Error(`${sessions * each} enqueues added ${rows} rows`)
  return (rows - 1) / seconds
}

async function addInBulk(bench: Bench, { session }: BenchDatabase): Promise<void> {
  const { figures, options } = bench
  const count = bench.scaled(BULK, 100)
  const numbers = `generate_series(1, ${count}) g`
  const title = `${count} in one statement`
  const ways = [
    ['pgbq', `select count(pg_background_enqueue('select ' || g)) from ${numbers}`],
    [
      'pgbq, inbox_many',
      `insert into background_queue.inbox_many (statements) select array_agg('select ' || g) from ${numbers}`,
    ],
    ['bare INSERT', `insert into bare (sql_statement, lane) select 'select ' || g, '' from ${numbers}`],
  ] as const
  await inTurn(options.rounds, [...ways], async ([who, sql], round) => {
    bench.note(`  round ${round + 1}: ${title}: ${who}`)
    figures.add(round, { case: title, who, what: 'tasks/s' }, count / (await timeOnServer(session, sql)))
  })
  const { rows } = await session.one<{ rows: number }>(
    `select count(*)::integer as rows from pg_background_tasks where sql_statement ~ '^select \\d+$'`,
  )
  const least = 2 * options.rounds * count
  if (rows < least) throw new Error(`${least} enqueues in bulk left ${rows} rows`)
  for (const who of ['pgbq', 'pgbq, inbox_many'])
    figures.bar({ case: title, who, what: 'tasks/s', atLeast: 100_000 })
}
