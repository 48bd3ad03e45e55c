import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import {
  appendFileSync,
  chmodSync,
  chownSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll } from 'vitest'
import { serverOwner } from '../../src/embedded/owner.js'
import { destroyEmbedded, startEmbedded } from '../../src/embedded/server.js'
import { Database } from '../../src/engine/database/database.js'
import { resolveTarget } from '../../src/engine/database/target.js'
import { withUser } from './names.js'
import { waitFor } from './wait.js'

/** PostgreSQL's programs of one major version. */
export interface Programs {
  major: number
  /** the folder of initdb and postgres; undefined: those of the embedded server */
  bin: string | undefined
  /** the folder of server modules, such as pg_cron.so */
  lib: string | undefined
}

export const EMBEDDED: Programs = { major: 18, bin: undefined, lib: undefined }

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

interface Running {
  url: string
  dataDir: string
  stop(): Promise<void>
}

/** Starts it before the file's tests and ends it after them. */
export function useServer(programs: Programs, settings: (folder: string) => string = () => ''): OwnServer {
  const sessions: Database[] = []
  let running: Running
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
    const folder = mkdtempSync(join(tmpdir(), 'pgbq-server-'))
    chmodSync(folder, 0o755)
    running = await (programs.bin === undefined
      ? startOurs(folder)
      : startTheirs(programs.bin, folder, settings(folder)))
    server.url = running.url
    server.admin = await server.session()
  })
  afterAll(async () => {
    await Promise.all(sessions.map((session) => session.close()))
    await running?.stop()
  })
  return server
}

async function startOurs(home: string): Promise<Running> {
  const { url, dataDir } = await startEmbedded({ home, settings: { fsync: 'off' } })
  const stop = async () => {
    await destroyEmbedded({ home })
    rmSync(home, { recursive: true, force: true })
  }
  return { url, dataDir, stop }
}

async function startTheirs(bin: string, folder: string, settings: string): Promise<Running> {
  const dataDir = join(folder, 'data')
  const owner = serverOwner(dataDir)
  const as = { cwd: '/', ...(owner ? { uid: owner.uid, gid: owner.gid } : {}) }
  if (owner) chownSync(folder, owner.uid, owner.gid)
  const init = spawnSync(
    join(bin, 'initdb'),
    ['-D', dataDir, '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--locale=C', '--no-sync'],
    { ...as, encoding: 'utf8' },
  )
  if (init.status !== 0) throw new Error(`initdb ended with ${init.status}: ${init.stdout}${init.stderr}`)
  appendFileSync(
    join(dataDir, 'postgresql.conf'),
    `\nlisten_addresses = ''\nunix_socket_directories = '${folder}'\nfsync = off\n${settings}\n`,
  )
  const child = spawn(join(bin, 'postgres'), ['-D', dataDir], { ...as, stdio: ['ignore', 'pipe', 'pipe'] })
  const url = `postgresql://postgres@/postgres?host=${encodeURIComponent(folder)}&port=5432`
  await isUp(child, url)
  return { url, dataDir, stop: () => end(child, folder) }
}

async function isUp(child: ChildProcess, url: string): Promise<void> {
  let output = ''
  for (const stream of [child.stdout!, child.stderr!])
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text
    })
  await waitFor('the server to take connections', async () => {
    if (child.exitCode !== null) throw new Error(`postgres ended with ${child.exitCode}: ${output}`)
    const session = await Database.connect(resolveTarget(url), { applicationName: 'pgbq tests' }).catch(
      () => undefined,
    )
    await session?.close()
    return session !== undefined
  })
}

/** SIGINT is the fast shutdown: https://www.postgresql.org/docs/current/server-shutdown.html */
async function end(child: ChildProcess, folder: string): Promise<void> {
  const ended = new Promise((resolve) => child.once('exit', resolve))
  if (child.exitCode === null) {
    child.kill('SIGINT')
    await ended
  }
  rmSync(folder, { recursive: true, force: true })
}
