import { type ChildProcess, execFile, fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { PACKAGE_ROOT } from '../package-root.js'
import type { BenchServer } from '../server.js'
import { startCost } from '../speed/server-cost.js'
import { type Drained, settle } from './measure.js'
import { createEffects } from './workload.js'

/** What no queue can do better: so many clients that commit one-row INSERTs and nothing else. */
export interface Bound {
  name: string
  /** Commits `count` rows, rounded down to the same number for each client. */
  run(url: string, clients: number, count: number): Promise<void>
}

const PGBENCH: Bound = {
  name: 'pgbench',
  async run(url, clients, count) {
    const folder = await mkdtemp(join(tmpdir(), 'pgbq-bench-'))
    const script = join(folder, 'insert.sql')
    try {
      await writeFile(script, 'insert into effects (n) values (1);\n')
      const each = String(Math.floor(count / clients))
      const threads = String(Math.min(clients, cpus().length))
      const args = ['-n', '-f', script, '-c', String(clients), '-j', threads, '-t', each, url]
      await promisify(execFile)('pgbench', args)
    } finally {
      await rm(folder, { recursive: true })
    }
  },
}

const LOOPS: Bound = {
  name: 'insert loops',
  async run(url, clients, count) {
    const env = { ...process.env, BENCH_URL: url, BENCH_COUNT: String(Math.floor(count / clients)) }
    const program = join(PACKAGE_ROOT, 'test', 'bench', 'queues', 'programs', 'insert-loop.js')
    const loops = Array.from({ length: clients }, () => fork(program, { env }))
    const exits = loops.map(exitOf)
    try {
      await Promise.race([Promise.all(loops.map((loop) => once(loop, 'message'))), Promise.all(exits)])
      for (const loop of loops) loop.send('go')
      await Promise.all(exits)
    } finally {
      for (const loop of loops) loop.kill('SIGKILL')
    }
  },
}

/** Errors: it ended otherwise than with 0. */
export async function exitOf(child: ChildProcess): Promise<void> {
  const [code, signal] = (await once(child, 'exit')) as [number | null, string | null]
  if (code !== 0) throw new Error(`${child.spawnfile} left with ${code ?? signal}`)
}

/** pgbench where it is, else our own loops with as many processes. */
export async function findBound(): Promise<Bound> {
  return promisify(execFile)('pgbench', ['--version']).then(
    () => PGBENCH,
    () => LOOPS,
  )
}

/** As a queue is measured, by the rows' own times. */
export async function measureBound(
  server: BenchServer,
  bound: Bound,
  count: number,
  clients: number,
): Promise<Drained> {
  const database = await server.createDatabase()
  try {
    await createEffects(database.session)
    await settle(database.session)
    const cost = await startCost(database.session)
    await bound.run(database.url, clients, count)
    const { rows, seconds } = await database.session.one<{ rows: number; seconds: number }>(
      `select count(*)::integer as rows, extract(epoch from max(at) - min(at))::double precision as seconds
       from effects`,
    )
    const expected = Math.floor(count / clients) * clients
    if (rows !== expected) throw new Error(`${bound.name} left ${rows} rows, not ${expected}`)
    return { rate: (rows - 1) / seconds, cost: await cost(rows) }
  } finally {
    await database.drop()
  }
}
