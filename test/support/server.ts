import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { destroyEmbedded, startEmbedded } from '../../src/embedded/server.js'
import { placePostgres, startPrograms } from './programs-server.js'

/** A server that tests may do anything to: its superuser's URL, and how it was found. */
export interface TestServer {
  url: string
  found: string
  /** of the version that was asked for; null: the tests' own servers are embedded ones */
  programs: { major: number; bin: string; lib: undefined } | null
  stop(): Promise<void>
}

/**
 * In this order: PGBQ_TEST_DATABASE_URL, the major version of PGBQ_TEST_POSTGRES from an npm package, a container
 * engine, the embedded PostgreSQL.
 */
export async function findServer(): Promise<TestServer> {
  const { PGBQ_TEST_DATABASE_URL: url, PGBQ_TEST_POSTGRES: major } = process.env
  if (url) return { url, found: 'PGBQ_TEST_DATABASE_URL', programs: null, stop: async () => undefined }
  if (major) return startVersion(Number(major))
  return (await startContainer()) ?? startOwn()
}

async function startVersion(major: number): Promise<TestServer> {
  const { bin, remove } = await placePostgres(major)
  const server = await startPrograms(bin, () => 'max_connections = 200')
  return {
    url: server.url,
    found: `PostgreSQL ${major} from an npm package`,
    programs: { major, bin, lib: undefined },
    stop: async () => {
      await server.destroy()
      remove()
    },
  }
}

async function startContainer(): Promise<TestServer | undefined> {
  const { PostgreSqlContainer } = await import('@testcontainers/postgresql')
  const { getContainerRuntimeClient } = await import('testcontainers')
  try {
    await getContainerRuntimeClient()
  } catch {
    return undefined
  }
  const container = await new PostgreSqlContainer('postgres:18')
    .withCommand(['postgres', '-c', 'fsync=off', '-c', 'max_connections=200'])
    .start()
  return {
    url: container.getConnectionUri(),
    found: 'a container (postgres:18)',
    programs: null,
    stop: async () => void (await container.stop()),
  }
}

async function startOwn(): Promise<TestServer> {
  const home = await mkdtemp(join(tmpdir(), 'pgbq-test-'))
  await chmod(home, 0o755)
  const server = await startEmbedded({ home, settings: { fsync: 'off', max_connections: '200' } })
  return {
    url: server.url,
    found: `the embedded PostgreSQL ${server.version}`,
    programs: null,
    stop: async () => {
      await destroyEmbedded({ home })
      await rm(home, { recursive: true, force: true })
    },
  }
}
