import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { destroyEmbedded, startEmbedded } from '../../src/embedded/server.js'

/** A server that tests may do anything to: its superuser's URL, and how it was found. */
export interface TestServer {
  url: string
  found: string
  stop(): Promise<void>
}

/** In this order: PGBQ_TEST_DATABASE_URL, a container engine, the embedded PostgreSQL. */
export async function findServer(): Promise<TestServer> {
  const url = process.env.PGBQ_TEST_DATABASE_URL
  if (url) return { url, found: 'PGBQ_TEST_DATABASE_URL', stop: async () => undefined }
  return (await startContainer()) ?? startOwn()
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
    stop: async () => {
      await destroyEmbedded({ home })
      await rm(home, { recursive: true, force: true })
    },
  }
}
