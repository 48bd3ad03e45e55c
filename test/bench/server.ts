import { randomBytes } from 'node:crypto'
import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { destroyEmbedded, startEmbedded } from '#pgbq/embedded/server'
import { Database } from '#pgbq/engine/database/database'
import { resolveTarget } from '#pgbq/engine/database/target'
import { withDatabase } from '../support/names.js'

/** A server to measure on, and databases of our own there. */
export interface BenchServer {
  /** such as `18.4` */
  version: string
  /** A session in another database than those made here. */
  admin: Database
  /** An empty database, dropped by close(). Its name begins with `pgbq_bench_`. */
  createDatabase(): Promise<BenchDatabase>
  /** Drops the databases; an embedded server is deleted with its data. */
  close(): Promise<void>
}

export interface BenchDatabase {
  url: string
  session: Database
  /** Another session there; the caller closes it. */
  connect(): Promise<Database>
  /** Ends its sessions and drops it, before the server is closed. */
  drop(): Promise<void>
}

/** The server of this URL (a role that may create databases), else an embedded one with its default settings. */
export async function openServer(url: string | undefined): Promise<BenchServer> {
  if (url !== undefined) return serve(url, async () => undefined)
  const home = await mkdtemp(join(tmpdir(), 'pgbq-bench-'))
  await chmod(home, 0o755) // the server of a caller who is root runs as another user
  const destroy = async (): Promise<void> => {
    await destroyEmbedded({ home })
    await rm(home, { recursive: true, force: true })
  }
  try {
    return await serve((await startEmbedded({ home })).url, destroy)
  } catch (error) {
    await destroy()
    throw error
  }
}

async function serve(url: string, end: () => Promise<void>): Promise<BenchServer> {
  const admin = await connect(url)
  const { version } = await admin.one<{ version: string }>(
    `select split_part(current_setting('server_version'), ' ', 1) as version`,
  )
  const made = new Set<BenchDatabase>()
  return {
    version,
    admin,
    async createDatabase() {
      const name = `pgbq_bench_${randomBytes(6).toString('hex')}`
      await admin.query(`create database ${name} template template0`)
      const ownUrl = withDatabase(url, name)
      const session = await connect(ownUrl)
      const database: BenchDatabase = {
        url: ownUrl,
        session,
        connect: () => connect(ownUrl),
        async drop() {
          made.delete(database)
          await session.close()
          await admin.query(`drop database if exists ${name} with (force)`)
        },
      }
      made.add(database)
      return database
    },
    async close() {
      for (const database of made) await database.drop()
      await admin.close()
      await end()
    },
  }
}

const connect = (url: string): Promise<Database> =>
  Database.connect(resolveTarget(url), { applicationName: 'pgbq bench' })
