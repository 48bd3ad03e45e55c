import type { Database, Row } from '../database/database.js'
import { type Parameter, readParameters } from '../settings.js'
import { inSchema, namedQuery } from '../sql-files.js'
import type { Moving } from './detach.js'
import { refuseWorkers, WAITING_ROOM } from './extension.js'

const UNKNOWN_END =
  'Was running when the queue moved from the extension; whether its SQL took effect is not known'

/** What was taken over. Counts are of tasks, by their states in the extension. */
export interface Moved {
  version: string
  tasks: Record<string, bigint>
  stuck: { count: bigint; became: 'pending' | 'failed' | null }
  owner: string
  time_zone: string
  /** of the server, in force as before */
  settings: Parameter[]
  /** whether the extension's library is still in the server, until its next start without it */
  library_loaded: boolean
  /** roles that could enqueue, and cannot before they are granted it */
  lost_rights: string[]
  /** closed tasks that are older than retention_in_days: the first supervisor deletes them */
  prunable: { count: bigint; days: number | null }
}

/** Fills the new queue with what waits. The role is then again the caller's. */
export async function moveTasks(database: Database, moving: Moving, schema: string): Promise<Moved> {
  const run = <T extends Row>(name: string, values: unknown[] = []) =>
    database.query<T>(inSchema(namedQuery(name), schema), values)
  await database.query(
    `select set_config('role', 'none', true), set_config('timezone', $1, true),
    set_config('background_queue.woken', pg_current_xact_id()::text, true)`,
    [moving.timeZone],
  )
  const counts = await run<{ state: string; count: bigint }>('moving_counts')
  await run('move_tasks', [moving.stuck ?? 'failed', moving.owner, UNKNOWN_END])
  await run('move_errors')
  await run('move_sequence', [moving.lastId, moving.isCalled])
  await database.query(`set local timezone = 'UTC'; drop table ${WAITING_ROOM}.pg_background_tasks;
    drop type ${moving.type}; drop schema ${WAITING_ROOM}`)
  await refuseWorkers(database)
  const tasks = Object.fromEntries(counts.map(({ state, count }) => [state, count]))
  const [prunable] = await run<{ count: bigint; days: string | null }>('moved_prunable')
  const [library] = await run<{ is_loaded: boolean; unset: string[] }>('extension_library')
  const stuck = tasks.running ?? 0n
  return {
    version: moving.version,
    tasks,
    stuck: { count: stuck, became: stuck === 0n ? null : moving.stuck! },
    owner: moving.owner,
    time_zone: moving.timeZone,
    settings: (await readParameters(database)).filter(
      ({ name, topic, source }) => source !== 'default' && (topic !== null || !library!.unset.includes(name)),
    ),
    library_loaded: library!.is_loaded,
    lost_rights: await withoutRight(database, moving.writers),
    prunable: { count: prunable!.count, days: prunable!.days === null ? null : Number(prunable!.days) },
  }
}

async function withoutRight(database: Database, roles: string[]): Promise<string[]> {
  const rows = await database.query<{ role: string }>('select r as role from background_queue.enqueuers() r')
  const granted = rows.map(({ role }) => role)
  return roles.filter((role) => !granted.includes(role))
}
