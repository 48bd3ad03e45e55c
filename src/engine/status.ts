import type { Database, Row } from './database/database.js'
import { readLanes, type TopicLimits } from './settings.js'
import { inSchema, namedQuery } from './sql-files.js'

export type StateCounts = Record<
  'pending' | 'running' | 'retrying' | 'failed' | 'finished' | 'cancelled',
  number
>

export interface TopicStatus extends TopicLimits {
  topic: string | null
  states: StateCounts
}

/** The whole queue at a glance. Seconds are the server's. */
export interface QueueStatus {
  states: StateCounts
  topics: TopicStatus[]
  workers: Row[]
  supervisors: Row[]
  oldest_due_sec: number | null
  failures: Row[]
  stranded_roles: Row[]
}

const noCounts = (): StateCounts => ({
  pending: 0,
  running: 0,
  retrying: 0,
  failed: 0,
  finished: 0,
  cancelled: 0,
})

/** Counts by topic and state, who works, what failed last. Reads in one snapshot. */
export async function readStatus(database: Database, schema: string): Promise<QueueStatus> {
  const ask = <T extends Row>(name: string) => database.query<T>(inSchema(namedQuery(name), schema))
  return inSnapshot(database, async () => {
    const counts = await ask<{ topic: string | null; state: keyof StateCounts; count: number }>(
      'state_counts',
    )
    const { queue, topics } = await readLanes(database)
    const [due] = await ask<{ sec: number | null }>('oldest_due')
    return {
      states: sum(counts),
      topics: byTopic(counts, topics, queue),
      workers: await ask('workers'),
      supervisors: await ask('supervisors'),
      oldest_due_sec: due?.sec ?? null,
      failures: await ask('recent_failures'),
      stranded_roles: await ask('stranded_roles'),
    }
  })
}

/** Reads, and so serves on a standby too. */
async function inSnapshot<T>(database: Database, read: () => Promise<T>): Promise<T> {
  await database.query('begin isolation level repeatable read read only')
  try {
    return await read()
  } finally {
    if (!database.lost) await database.query('rollback')
  }
}

type Count = { topic: string | null; state: keyof StateCounts; count: number }

function sum(counts: Count[]): StateCounts {
  const total = noCounts()
  for (const { state, count } of counts) total[state] += count
  return total
}

/** topic 2 before topic 10 */
const byName = new Intl.Collator(undefined, { numeric: true })

function byTopic(
  counts: Count[],
  limits: Map<string | null, TopicLimits>,
  queue: TopicLimits,
): TopicStatus[] {
  const names = [...new Set([...counts.map((c) => c.topic), ...limits.keys()])]
  return names
    .sort((a, b) => byName.compare(a ?? '', b ?? ''))
    .map((topic) => ({
      topic,
      states: sum(counts.filter((c) => c.topic === topic)),
      ...(limits.get(topic) ?? queue),
    }))
}
