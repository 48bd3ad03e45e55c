import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { appendFileSync, chmodSync, chownSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { serverOwner } from '../../src/embedded/owner.js'
import { installPrograms } from '../../src/embedded/programs.js'
import { Database } from '../../src/engine/database/database.js'
import { resolveTarget } from '../../src/engine/database/target.js'
import { installPostgres } from './postgres-packages.js'
import { waitFor } from './wait.js'

/** A server that was made from PostgreSQL's own programs, in a folder that goes with it. */
export interface ProgramsServer {
  /** a superuser's, by a unix socket */
  url: string
  dataDir: string
  stop(): Promise<void>
}

/** The folder of PostgreSQL's programs of a major version, where the server's user can read it. */
export async function placePostgres(major: number): Promise<{ bin: string; remove(): void }> {
  const { folder, release } = await installPostgres(major)
  const home = mkdtempSync(join(tmpdir(), 'pgbq-programs-'))
  chmodSync(home, 0o755)
  const programs = join(home, 'programs')
  const source = { folder, release, native: join(folder, 'native'), major: String(major), version: release }
  installPrograms(source, programs, join(home, 'scratch'), true)
  return { bin: join(programs, 'bin'), remove: () => rmSync(home, { recursive: true, force: true }) }
}

/** settings: lines for postgresql.conf, given the folder of the socket and the data. */
export async function startPrograms(
  bin: string,
  settings: (folder: string) => string,
): Promise<ProgramsServer> {
  const folder = mkdtempSync(join(tmpdir(), 'pgbq-server-'))
  chmodSync(folder, 0o755)
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
    `\nlisten_addresses = ''\nunix_socket_directories = '${folder}'\nfsync = off\n${settings(folder)}\n`,
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
