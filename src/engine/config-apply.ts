import type { FileConfig, FoundConfig } from './config-file.js'
import type { Database } from './database/database.js'
import { QueueError, usageError } from './errors.js'
import { checkParameter, storeParameter } from './settings.js'

/** One stored value to change; null: absent. */
export interface SettingChange {
  lane: string
  name: string
  from: string | null
  to: string | null
}

/**
 * What has to change so that the stored parameters equal the file's, and nothing else is stored.
 * Errors: CONFIG_INVALID with the file and the key.
 */
export async function planChanges(
  database: Database,
  { config, path }: FoundConfig,
): Promise<SettingChange[]> {
  const wanted = wantedValues(config)
  const rows = await database.query<{ lane: string; name: string; value: string }>(
    'select lane, name, value from background_queue.settings',
  )
  const stored = new Map(rows.map((r) => [JSON.stringify([r.lane, r.name]), r.value]))
  const changes = [...new Set([...stored.keys(), ...wanted.keys()])]
    .filter((key) => stored.get(key) !== wanted.get(key))
    .sort()
    .map((key) => {
      const [lane, name] = JSON.parse(key) as [string, string]
      return { lane, name, from: stored.get(key) ?? null, to: wanted.get(key) ?? null }
    })
  for (const change of changes) await check(database, change, path)
  return changes
}

function wantedValues(config: FileConfig): Map<string, string> {
  const wanted = new Map<string, string>()
  const add = (lane: string, parameters: Record<string, unknown> = {}) => {
    for (const [name, value] of Object.entries(parameters))
      wanted.set(JSON.stringify([lane, name]), String(value))
  }
  add('', config.parameters)
  for (const [topic, parameters] of Object.entries(config.topics ?? {})) add(`/${topic}`, parameters)
  return wanted
}

async function check(database: Database, { lane, name, to }: SettingChange, path: string): Promise<void> {
  if (to === null) return
  await checkParameter(database, lane, name, to).catch((error: unknown) => {
    if (!(error instanceof QueueError) || !error.usage) throw error
    throw usageError('CONFIG_INVALID', `In "${path}", ${sayLane(lane)}: ${error.message}`, error.hint)
  })
}

/** Where a parameter stands, for people. */
export function sayLane(lane: string): string {
  if (lane === '') return 'the queue'
  return lane === '/' ? 'tasks without topic' : `topic "${lane.slice(1)}"`
}

/** Stores all changes, or none. */
export async function applyChanges(database: Database, changes: SettingChange[]): Promise<void> {
  await database.transaction(async () => {
    for (const { lane, name, to } of changes) await storeParameter(database, lane, name, to)
  })
}
