import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createWriteStream } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { PgbqQueue } from '../queues/pgbq-queue.js'
import type { BenchDatabase, BenchServer } from '../server.js'
import { copyFile } from '../speed/copy-file.js'
import { canReadUsage, memoryOf } from '../speed/process-usage.js'
import { PGBQ } from '../systems/pgbq-work.js'
import { type Bench, inTurn, type Scenario } from './scenario.js'

const LINES = 1_000_000
const LOOK_MS = 20

/** COPY into what a queue needs at the least, and into a table equal to ours. */
const TABLES: Record<string, string> = {
  'COPY into a bare table':
    'create table copied (id bigserial primary key, sql_statement text not null, joined_at timestamptz default now())',
  'COPY into an equal table':
    "create table copied (like pg_background_tasks including all); alter table copied alter lane set default ''",
}

export const file: Scenario = {
  name: 'file',
  about: '`pgbq enqueue --file` of 1,000,000 lines beside COPY, and its memory',
  async run(bench) {
    const folder = await mkdtemp(join(tmpdir(), 'pgbq-bench-'))
    try {
      const lines = bench.scaled(LINES, 100)
      const [small, large] = [join(folder, 'tenth.sql'), join(folder, 'whole.sql')]
      await writeLines(small, lines / 10)
      await writeLines(large, lines)
      await measure(bench, { lines, small, large })
    } finally {
      await rm(folder, { recursive: true })
    }
  },
}

async function writeLines(path: string, count: number): Promise<void> {
  const lines = function* (): Generator<string> {
    for (let n = 1; n <= count; n++) yield `insert into effects (n) values (${n});\n`
  }
  await pipeline(Readable.from(lines()), createWriteStream(path))
}

async function measure(
  bench: Bench,
  { lines, small, large }: { lines: number; small: string; large: string },
): Promise<void> {
  const { server, figures, options } = bench
  const title = `${lines} lines`
  const ways = [...Object.keys(TABLES), 'pgbq']
  await inTurn(options.rounds, ways, async (who, round) => {
    bench.note(`  round ${round + 1}: ${title}: ${who}`)
    const add = (what: string, value: number): void => figures.add(round, { case: title, who, what }, value)
    if (who !== 'pgbq') return add('lines/s', lines / (await copy(server, TABLES[who]!, large, lines)))
    const whole = await enqueueFile(server, large, lines)
    add('lines/s', lines / whole.seconds)
    if (!canReadUsage) return
    const tenth = await enqueueFile(server, small, Math.floor(lines / 10))
    add('peak RSS MB', whole.peakMb)
    figures.add(round, { case: title, who: 'pgbq, a tenth', what: 'peak RSS MB' }, tenth.peakMb)
  })
  const bar = (what: string, who: string, limit: { atLeast?: number; atMost?: number }): void =>
    figures.bar({ case: title, who: 'pgbq', what, beside: { who, by: 'ratio' }, ...limit })
  bar('lines/s', 'COPY into a bare table', { atLeast: 0.5 })
  bar('peak RSS MB', 'pgbq, a tenth', { atMost: 1.25 })
}

/** Seconds by the server's clock, with the commit. */
function copy(server: BenchServer, table: string, path: string, lines: number): Promise<number> {
  return inQueue(server, async ({ session }) => {
    const now = async (): Promise<number> =>
      (
        await session.one<{ at: number }>(
          'select extract(epoch from clock_timestamp())::double precision as at',
        )
      ).at
    await session.client.query(table)
    await session.query('checkpoint')
    const startedAt = await now()
    await session.transaction(() => copyFile(session, 'copied (sql_statement)', path))
    const seconds = (await now()) - startedAt
    await expectRows({ session }, 'copied', lines)
    return seconds
  })
}

/** From the start of the process to its end, as whoever called it waits. */
function enqueueFile(
  server: BenchServer,
  path: string,
  lines: number,
): Promise<{ seconds: number; peakMb: number }> {
  return inQueue(server, async ({ url, session }) => {
    await session.query('checkpoint')
    const startedAt = performance.now()
    const child = spawn(process.execPath, [PGBQ, 'enqueue', '--file', path], {
      env: { ...process.env, PGBQ_DATABASE_URL: url },
      stdio: ['ignore', 'ignore', 'inherit'],
    })
    const peak = watchPeak(child)
    const [code] = (await once(child, 'exit')) as [number | null]
    const seconds = (performance.now() - startedAt) / 1000
    if (code !== 0) throw new Error(`pgbq enqueue --file left with ${code}`)
    await expectRows({ session }, 'pg_background_tasks', lines)
    return { seconds, peakMb: peak() }
  })
}

/** The most memory that a process has ever had; asked for while it lives, for then it is forgotten. */
function watchPeak(child: ChildProcess): () => number {
  let peak = 0
  const timer = setInterval(() => {
    try {
      peak = Math.max(peak, memoryOf(child.pid!).peak || 0)
    } catch {} // it has ended
  }, LOOK_MS)
  if (!canReadUsage) clearInterval(timer)
  child.once('exit', () => clearInterval(timer))
  return () => peak
}

async function inQueue<T>(server: BenchServer, use: (database: BenchDatabase) => Promise<T>): Promise<T> {
  const database = await server.createDatabase()
  try {
    await new PgbqQueue().install(database)
    return await use(database)
  } finally {
    await database.drop()
  }
}

async function expectRows(
  { session }: Pick<BenchDatabase, 'session'>,
  table: string,
  lines: number,
): Promise<void> {
  const { rows } = await session.one<{ rows: number }>(
    `select count(distinct sql_statement)::integer as rows from ${table} where sql_statement <> ''`,
  )
  if (rows !== lines) throw new Error(`${lines} lines left ${rows} different tasks`)
}
