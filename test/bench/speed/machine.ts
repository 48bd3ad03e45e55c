import { cpus, release, totalmem, type } from 'node:os'
import { QueueError } from '#pgbq/engine/errors'
import type { BenchServer } from '../server.js'
import { PGBQ_VERSION } from '../systems/pgbq.js'

export interface Machine {
  cpus: number
  cpu: string
  memoryGb: number
  kernel: string
}

export const describeMachine = (): Machine => ({
  cpus: cpus().length,
  cpu: cpus()[0]?.model.trim() ?? 'unknown',
  memoryGb: Math.round(totalmem() / 2 ** 30),
  kernel: `${type()} ${release()}`,
})

export const describeVersions = (server: BenchServer): Record<string, string> => ({
  pgbq: PGBQ_VERSION,
  node: process.versions.node,
  postgres: server.version,
})

const SHOWN = [
  'fsync',
  'synchronous_commit',
  'full_page_writes',
  'wal_sync_method',
  'wal_level',
  'shared_buffers',
  'max_wal_size',
  'max_connections',
  'commit_delay',
  'autovacuum',
  'shared_preload_libraries',
]

/**
 * The server's settings that its speed hangs on. Errors: UNSAFE_SERVER where a commit is not durable, for such
 * figures compare nothing that anybody would run, unless any settings will do.
 */
export async function readSettings(server: BenchServer, takesAny: boolean): Promise<Record<string, string>> {
  const rows = await server.admin.query<{ name: string; value: string }>(
    'select n as name, current_setting(n) as value from unnest($1::text[]) n',
    [SHOWN],
  )
  const settings = Object.fromEntries(rows.map(({ name, value }) => [name, value]))
  const unsafe = ['fsync', 'synchronous_commit'].find((name) => settings[name] !== 'on')
  if (unsafe !== undefined && !takesAny) {
    throw new QueueError(
      'UNSAFE_SERVER',
      `Expected the server's ${unsafe} to be on, it is ${settings[unsafe]}`,
    )
  }
  return settings
}
