import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { PgbqQueue } from '../queues/pgbq-queue.js'
import { median } from '../speed/statistics.js'
import { PGBQ } from '../systems/pgbq-work.js'
import type { Scenario } from './scenario.js'

const RUNS = 10

export const cli: Scenario = {
  name: 'cli',
  about: 'wall time of `pgbq enqueue` as a person feels it, beside node that does nothing',
  async run(bench) {
    const { server, figures, options } = bench
    const database = await server.createDatabase()
    try {
      const queue = new PgbqQueue()
      await queue.install(database)
      const runs = bench.scaled(RUNS, 2)
      const env = { ...process.env, PGBQ_DATABASE_URL: database.url }
      const [bare, ours]: [number[], number[]] = [[], []]
      for (let round = 0; round < options.rounds; round++) {
        for (let i = 0; i < runs; i++) {
          bare[i] = await wallMs(['-e', '0'], env)
          ours[i] = await wallMs([PGBQ, 'enqueue', 'select 1'], env)
        }
        figures.add(round, { case: 'enqueue', who: 'bare node', what: 'ms' }, median(bare))
        figures.add(round, { case: 'enqueue', who: 'pgbq', what: 'ms' }, median(ours))
      }
      const added = await queue.unfinished()
      if (added !== runs * options.rounds)
        throw new Error(`${runs * options.rounds} runs added ${added} tasks`)
    } finally {
      await database.drop()
    }
    const beside = { who: 'bare node', by: 'difference' as const }
    figures.bar({ case: 'enqueue', who: 'pgbq', what: 'ms', beside, atMost: 130, goal: 90 })
  },
}

async function wallMs(args: string[], env: NodeJS.ProcessEnv): Promise<number> {
  const startedAt = performance.now()
  await promisify(execFile)(process.execPath, args, { env })
  return performance.now() - startedAt
}
