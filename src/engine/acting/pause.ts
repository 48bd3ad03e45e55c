import type { Database } from '../database/database.js'
import { readLanes, readParameters, storeParameter } from '../settings.js'
import { inSchema, namedQuery } from '../sql-files.js'

/** The pause of the queue (topic null), a topic, or tasks without topic (''). */
export interface PauseReport {
  topic: string | null
  paused: boolean
  /** tasks that run now; a pause lets them end */
  running: bigint
}

/** Pauses or resumes. A topic of a paused queue stays paused with it. */
export async function setPaused(
  database: Database,
  schema: string,
  topic: string | null,
  isPaused: boolean,
): Promise<PauseReport> {
  const lane = topic === null ? '' : `/${topic}`
  await (isPaused ? storeParameter(database, lane, 'paused', 'true') : resume(database, lane, topic))
  return { topic, paused: isPaused, running: await countRunning(database, schema, topic) }
}

/** Tasks of a topic that run now; null: of all. */
export async function countRunning(
  database: Database,
  schema: string,
  topic: string | null,
): Promise<bigint> {
  const { count } = await database.one<{ count: bigint }>(inSchema(namedQuery('running_count'), schema), [
    topic,
  ])
  return count
}

/** A value of our own is kept only where what stands behind it says that the queue, or the topic, is paused. */
function resume(database: Database, lane: string, topic: string | null): Promise<void> {
  return database.transaction(async () => {
    await storeParameter(database, lane, 'paused', null)
    const parameters = await readParameters(database)
    const isStillPaused = parameters.some((p) => p.name === 'paused' && p.topic === topic && p.value === true)
    if (isStillPaused) await storeParameter(database, lane, 'paused', 'false')
  })
}

/** Whether the whole queue is paused, and the topics that are by themselves ('' tasks without topic). */
export async function listPaused(database: Database): Promise<{ queue: boolean; topics: string[] }> {
  const named = (await readParameters(database)).filter((p) => p.name === 'paused' && p.value === true)
  const { queue } = await readLanes(database)
  return { queue: queue.paused, topics: named.map((p) => p.topic).filter((topic) => topic !== null) }
}
