import { chmodSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, inject } from 'vitest'
import { destroyEmbedded, startEmbedded, stopEmbedded } from '../../src/embedded/server.js'
import { Database } from '../../src/engine/database/database.js'
import { resolveTarget } from '../../src/engine/database/target.js'
import { withUser } from './names.js'
import { type OwnProcess, startPrograms } from './programs-server.js'

/** PostgreSQL's programs of one major version. */
export interface Programs {
  major: number
  /** the folder of initdb and postgres; undefined: those of the embedded server */
  bin: string | undefined
  /** the folder of server modules, such as pg_cron.so */
  lib: string | undefined
}

/** Those of the version that the tests were told to run on, else of the embedded server. */
export const PROGRAMS: Programs = inject('programs') ?? { major: 18, bin: undefined, lib: undefined }

/** PostgreSQL's programs where Debian's packages put them, oldest first. */
export function debianPrograms(): Programs[] {
  const root = '/usr/lib/postgresql'
  if (!existsSync(root)) return []
  return readdirSync(root)
    .map((major) => ({ major: Number(major), bin: join(root, major, 'bin'), lib: join(root, major, 'lib') }))
    .filter(({ bin }) => existsSync(join(bin, 'initdb')))
    .sort((a, b) => a.major - b.major)
}

/** A server of one test file's own, whose postgresql.conf it may change. */
export interface OwnServer {
  /** a superuser's URL of the only database */
  readonly url: string
  /** a superuser's session */
  readonly admin: Database
  /** makes these the last lines of postgresql.conf, in place of those before; they count once somebody reloads it */
  configure(lines: string): void
  /** another session, of the superuser or a role, closed at the end */
  session(role?: string): Promise<Database>
}

/** Starts it before the file's tests and ends it after them. */
export function useServer(programs: Programs, settings: (folder: string) => string = () => ''): OwnServer {
  const sessions: Database[] = []
  let running: OwnProcess
  let original: string | undefined
  const server = {
    configure: (lines: string) => {
      const file = join(running.dataDir, 'postgresql.conf')
      original ??= readFileSync(file, 'utf8')
      writeFileSync(file, `${original}\n${lines}\n`)
    },
    async session(role?: string) {
      const url = role === undefined ? server.url : withUser(server.url, role)
      const session = await Database.connect(resolveTarget(url), { applicationName: 'pgbq tests' })
      sessions.push(session)
      return session
    },
  } as { -readonly [K in keyof OwnServer]: OwnServer[K] }
  beforeAll(async () => {
    running = await startServer(programs, settings)
    server.url = running.url
    server.admin = await server.session()
  })
  afterAll(async () => {
    await Promise.all(sessions.map((session) => session.close()))
    await running?.destroy()
  })
  return server
}

/** settings count for other programs than those of the embedded server. */
export async function startServer(
  { bin }: Programs,
  settings: (folder: string) => string = () => '',
): Promise<OwnProcess> {
  if (bin !== undefined) return startPrograms(bin, settings)
  const home = mkdtempSync(join(tmpdir(), 'pgbq-server-'))
  chmodSync(home, 0o755)
  const start = () => startEmbedded({ home, settings: { fsync: 'off' } })
  const { url, dataDir, pid: first } = await start()
  let pid = first
  return {
    url,
    dataDir,
    get pid() {
      return pid
    },
    async start() {
      pid = (await start()).pid
    },
    shutDown: async () => void (await stopEmbedded({ home })),
    async destroy() {
      await destroyEmbedded({ home })
      rmSync(home, { recursive: true, force: true })
    },
  }
}
