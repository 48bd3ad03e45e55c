import type { Database } from '../engine/database/database.js'
import { install } from '../engine/migrator.js'
import { storeParameter } from '../engine/settings.js'
import { enqueueMany } from '../engine/task-store.js'
import type { Screen } from '../output/screen.js'
import type { Interrupt } from './interrupt.js'
import { type DemoTask, readSections, readTasks } from './script.js'

/** What each topic obeys, and the same in words. */
const TOPICS = {
  maintenance: { words: 'one task at a time', parameters: { max_parallel_running_tasks_count: '1' } },
  reports: { words: 'go first (priority 50)', parameters: { priority: '50' } },
  backfill: {
    words: 'at most two at a time, up to 3 retries',
    parameters: { max_parallel_running_tasks_count: '2', retry_count: '3' },
  },
}

/** Makes the shop's tables and fills them. Errors: INTERRUPTED. */
export async function buildShop(database: Database, screen: Screen, interrupt: Interrupt): Promise<void> {
  screen.step('A small shop', 'Tables and data in a database of its own, "pgbq_demo".')
  for (const { title, sql } of readSections('shop')) {
    interrupt.check()
    screen.live(`   … ${title}`)
    const startedAt = performance.now()
    await database.transaction(() => database.query(sql))
    screen.item('done', title, performance.now() - startedAt)
  }
  interrupt.check()
}

/** Installs the queue and gives three topics their limits. Returns the queue's schema. */
export async function prepareQueue(
  database: Database,
  screen: Screen,
  wanted: string | undefined,
): Promise<string> {
  screen.step('The queue', 'Plain tables and functions in the same database: no extension, no restart.')
  const { schema } = await install(database, { schema: wanted })
  screen.item('done', `installed in the schema "${schema}"`)
  for (const [topic, { words, parameters }] of Object.entries(TOPICS)) {
    for (const [name, value] of Object.entries(parameters))
      await storeParameter(database, `/${topic}`, name, value)
    screen.item('done', `topic ${topic.padEnd(11)} ${words}`)
  }
  return schema
}

/** Enqueues all work in one transaction. Returns the tasks by id. */
export async function enqueueWork(
  database: Database,
  screen: Screen,
  schema: string,
): Promise<Map<bigint, DemoTask>> {
  screen.step('The work', 'Ordinary SQL, enqueued in one transaction: all of it or nothing.')
  const tasks = readTasks()
  const startedAt = performance.now()
  await enqueueMany(database, tasks)
  screen.item('done', `${tasks.length} tasks enqueued`, performance.now() - startedAt)
  const rows = await database.query<{ id: bigint; unique_key: string }>(
    `select id, unique_key from "${schema}".pg_background_tasks`,
  )
  return new Map(rows.map(({ id, unique_key }) => [id, tasks.find((task) => task.key === unique_key)!]))
}
