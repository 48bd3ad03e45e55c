import { measureDrain } from '../queues/measure.js'
import { PGBQ_KIND } from '../queues/pgbq-queue.js'
import { ONE_ROW } from '../queues/workload.js'
import { grouped } from './drain.js'
import { GRAPHILE_BATCHES, inTurn, type Scenario } from './scenario.js'

const TASKS = 10_000
const AMONG_ALL = 3000

/** Nothing is written by SELECT 1: one task of a hundred is a one-row INSERT, and tells when it was its turn. */
const MARKS = { every: 100, otherwise: 'select 1' }

export const select1: Scenario = {
  name: 'select1',
  about: 'SELECT 1 with 1 and 4 slots',
  async run(bench) {
    const { server, figures, options } = bench
    const count = Math.ceil(bench.scaled(TASKS, 200, AMONG_ALL) / MARKS.every) * MARKS.every
    const kinds = [PGBQ_KIND, grouped(bench), ...bench.peers]
    for (const slots of [1, options.slots]) {
      const title = `SELECT 1, slots: ${slots}`
      await inTurn(options.rounds, kinds, async (kind, round) => {
        bench.note(`  round ${round + 1}: ${title}: ${kind.name}`)
        const { rate } = await measureDrain(server, kind, { count, template: ONE_ROW, marks: MARKS }, slots)
        figures.add(round, { case: title, who: kind.name, what: 'tasks/s' }, rate)
      })
      const beside = { who: GRAPHILE_BATCHES, by: 'ratio' as const }
      if (bench.peers.length > 0)
        figures.bar({ case: title, who: grouped(bench).name, what: 'tasks/s', beside, atLeast: 1 })
    }
  },
}
