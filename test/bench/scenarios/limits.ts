import { measureDrain } from '../queues/measure.js'
import { PGBQ_KIND, type PgbqQueue } from '../queues/pgbq-queue.js'
import { ONE_ROW, type Workload } from '../queues/workload.js'
import type { BenchDatabase } from '../server.js'
import { type Bench, inTurn, type Scenario } from './scenario.js'

const TASKS = 5000
const AMONG_ALL = 1500
const SLOTS = 16
const TOPICS = 100

/** limit: of each topic; topic: one, or how many */
interface Case {
  title: string
  who: 'limited' | 'unlimited'
  slots: number
  topic: string | number
  limit?: number
}

/** A limit of one topic is compared with a queue that has no more slots than that. */
const CASES: Case[] = [
  { title: 'a topic limited to 1', who: 'limited', slots: SLOTS, topic: 'one', limit: 1 },
  { title: 'a topic limited to 1', who: 'unlimited', slots: 1, topic: 'one' },
  { title: 'a topic limited to 4', who: 'limited', slots: SLOTS, topic: 'one', limit: 4 },
  { title: 'a topic limited to 4', who: 'unlimited', slots: 4, topic: 'one' },
  { title: `${TOPICS} topics limited to 1`, who: 'limited', slots: SLOTS, topic: TOPICS, limit: 1 },
  { title: `${TOPICS} topics limited to 1`, who: 'unlimited', slots: SLOTS, topic: TOPICS },
]

export const limits: Scenario = {
  name: 'limits',
  about: 'a topic limited to 1 and to 4 of 16 slots, 100 topics with limits; no limit is ever passed',
  async run(bench) {
    const { server, options, figures } = bench
    const count = bench.scaled(TASKS, 100, AMONG_ALL)
    await inTurn(options.rounds, CASES, async (one, round) => {
      bench.note(`  round ${round + 1}: ${one.title}: ${one.who}`)
      const work: Workload = { count, template: ONE_ROW, topic: one.topic }
      const { rate } = await measureDrain(server, PGBQ_KIND, work, one.slots, {
        prepare: async (queue) => setLimits(queue as PgbqQueue, one),
        after: (database) => addMost(bench, round, one, database),
      })
      figures.add(round, { case: one.title, who: one.who, what: 'tasks/s' }, rate)
    })
    for (const { title: case_, limit } of CASES) {
      const beside = { who: 'unlimited', by: 'ratio' as const }
      figures.bar({ case: case_, who: 'limited', what: 'tasks/s', beside, atLeast: 0.5 })
      if (limit !== undefined) {
        figures.bar({ case: case_, who: 'limited', what: 'most at a time in a topic', atMost: limit })
      }
    }
  },
}

async function setLimits(queue: PgbqQueue, { topic, limit }: Case): Promise<void> {
  if (limit === undefined) return
  const topics = typeof topic === 'string' ? [topic] : Array.from({ length: topic }, (_, n) => `topic ${n}`)
  for (const name of topics) await queue.set('max_parallel_running_tasks_count', String(limit), name)
}

/** How many tasks of one topic ever ran at a time, by the ledger: one more at each start, one less at each end. */
const MOST = `
  select max(running)::integer as most from (
    select sum(step) over (partition by topic order by at, step) as running from (
      select topic, started_at as at, 1 as step from pg_background_tasks
      union all select topic, closed_at, -1 from pg_background_tasks) steps) counts`

async function addMost(
  { figures }: Bench,
  round: number,
  one: Case,
  { session }: BenchDatabase,
): Promise<void> {
  if (one.limit === undefined) return
  const { most } = await session.one<{ most: number }>(MOST)
  figures.add(round, { case: one.title, who: one.who, what: 'most at a time in a topic' }, most)
  if (most > one.limit) throw new Error(`${most} tasks of a topic ran at a time, ${one.limit} may`)
}
