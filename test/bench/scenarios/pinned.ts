import { measureDrain } from '../queues/measure.js'
import { PGBQ_KIND } from '../queues/pgbq-queue.js'
import { ONE_ROW } from '../queues/workload.js'
import type { BenchDatabase } from '../server.js'
import type { Scenario } from './scenario.js'

const TASKS = 200_000
const AMONG_ALL = 30_000

export const pinned: Scenario = {
  name: 'pinned',
  about: '200,000 tasks while another session holds a snapshot: the last fifth beside the first',
  async run(bench) {
    const { server, options, figures } = bench
    const count = bench.scaled(TASKS, 100, AMONG_ALL)
    const title = `${count} INSERTs, pinned xmin`
    const rounds = options.isNamed ? options.rounds : 1
    for (let round = 0; round < rounds; round++) {
      bench.note(`  round ${round + 1}: ${title}`)
      let unpin = async (): Promise<void> => undefined
      await measureDrain(server, PGBQ_KIND, { count, template: ONE_ROW }, options.slots, {
        prepare: async (_, database) => {
          unpin = await pin(database)
        },
        after: async ({ session }) => {
          await unpin()
          for (const [who, first, last] of [
            ['first fifth', 0, 0.2],
            ['last fifth', 0.8, 1],
          ] as const) {
            const rows = await session.query<{ seconds: number }>(
              `select extract(epoch from max(at) - min(at))::double precision as seconds from
               (select at from effects order by at offset $1 limit $2) part`,
              [Math.floor(count * first), Math.floor(count * (last - first))],
            )
            const rate = (Math.floor(count * (last - first)) - 1) / rows[0]!.seconds
            figures.add(round, { case: title, who, what: 'tasks/s' }, rate)
          }
        },
      })
    }
    const beside = { who: 'first fifth', by: 'ratio' as const }
    figures.bar({ case: title, who: 'last fifth', what: 'tasks/s', beside, atLeast: 0.8 })
  },
}

/** A snapshot that is held until it is let go: what dies after it cannot be cleaned away. */
async function pin(database: BenchDatabase): Promise<() => Promise<void>> {
  const session = await database.connect()
  await session.query('begin isolation level repeatable read')
  await session.query('select from effects')
  return () => session.close()
}
