import { type ChildProcess, type SpawnSyncOptions, spawn, spawnSync } from 'node:child_process'
import { appendFileSync, chmodSync, chownSync, mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { serverOwner } from '../../src/embedded/owner.js'
import { installPrograms } from '../../src/embedded/programs.js'
import { Database } from '../../src/engine/database/database.js'
import { resolveTarget } from '../../src/engine/database/target.js'
import { installPostgres } from './postgres-packages.js'
import { removedWithUs } from './removed-with-us.js'
import { waitFor } from './wait.js'

/** A server in a folder of its own, which may be ended and started again. */
export interface OwnProcess {
  /** a superuser's, by a unix socket */
  readonly url: string
  readonly dataDir: string
  /** of the postmaster */
  readonly pid: number
  start(): Promise<void>
  /** the fast shutdown: https://www.postgresql.org/docs/current/server-shutdown.html */
  shutDown(): Promise<void>
  /** down, and its folder away */
  destroy(): Promise<void>
}

/** The folder of PostgreSQL's programs of a major version, where the server's user can read it. */
export async function placePostgres(major: number): Promise<{ bin: string; remove(): void }> {
  const { folder, release } = await installPostgres(major)
  const home = mkdtempSync(join(tmpdir(), 'pgbq-programs-'))
  const remove = removedWithUs(home)
  chmodSync(home, 0o755)
  const programs = join(home, 'programs')
  const source = { folder, release, native: join(folder, 'native'), major: String(major), version: release }
  installPrograms(source, programs, join(home, 'scratch'), true)
  return { bin: join(programs, 'bin'), remove }
}

/** settings: lines for postgresql.conf, given the folder of the socket and the data. */
export async function startPrograms(bin: string, settings: (folder: string) => string): Promise<OwnProcess> {
  const folder = mkdtempSync(join(tmpdir(), 'pgbq-server-'))
  const remove = removedWithUs(folder)
  chmodSync(folder, 0o755)
  const dataDir = join(folder, 'data')
  const owner = serverOwner(dataDir)
  const as = { cwd: '/', ...(owner ? { uid: owner.uid, gid: owner.gid } : {}) }
  if (owner) chownSync(folder, owner.uid, owner.gid)
  makeCluster(bin, dataDir, as)
  appendFileSync(
    join(dataDir, 'postgresql.conf'),
    `\nlisten_addresses = ''\nunix_socket_directories = '${folder}'\nfsync = off\n${settings(folder)}\n`,
  )
  const url = `postgresql://postgres@/postgres?host=${encodeURIComponent(folder)}&port=5432`
  let child: ChildProcess
  const server: OwnProcess = {
    url,
    dataDir,
    get pid() {
      return child.pid!
    },
    async start() {
      if (child !== undefined) await gone(child)
      child = spawn(join(bin, 'postgres'), ['-D', dataDir], { ...as, stdio: ['ignore', 'pipe', 'pipe'] })
      await isUp(child, url)
    },
    async shutDown() {
      child.kill('SIGINT')
      await gone(child)
    },
    async destroy() {
      await server.shutDown()
      remove()
    },
  }
  await server.start()
  return server
}

function makeCluster(bin: string, dataDir: string, as: SpawnSyncOptions): void {
  const args = ['-D', dataDir, '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--locale=C', '--no-sync']
  const init = spawnSync(join(bin, 'initdb'), args, { ...as, encoding: 'utf8' })
  if (init.status !== 0) throw new Error(`initdb ended with ${init.status}: ${init.stdout}${init.stderr}`)
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

async function gone(child: ChildProcess): Promise<void> {
  await waitFor('the server to be down', () => child.exitCode !== null || child.signalCode !== null)
}
