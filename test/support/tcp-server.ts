import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { appendFileSync, chmodSync, chownSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { isRoot, type Owner, serverOwner } from '../../src/embedded/owner.js'
import { findPackage, installPrograms } from '../../src/embedded/programs.js'
import { Database } from '../../src/engine/database/database.js'
import { resolveTarget } from '../../src/engine/database/target.js'
import { debianPrograms } from './own-server.js'
import { freePort } from './pooler.js'
import { waitFor } from './wait.js'

/** A server on a free port of 127.0.0.1 and on a socket in its folder, both by the same port number. */
export interface TcpServer {
  readonly folder: string
  readonly dataDir: string
  readonly port: number
  /** a superuser's session on its first database, closed with the server */
  admin(): Promise<Database>
  start(): Promise<void>
  /** the fast shutdown, or the one that leaves everything as it stands */
  halt(signal?: 'SIGINT' | 'SIGQUIT'): Promise<void>
  /** another server with the same data, as a stopped one leaves them; a standby until it is promoted */
  copyAsStandby(): Promise<TcpServer>
  /** ends it and removes its folder */
  remove(): Promise<void>
}

/** Writes a file into the data folder that the server, and nobody else, can read. */
export type Put = (name: string, text: string) => void

/** A stopped server; `prepare` may put files, and gives more lines of postgresql.conf. */
export async function makeServer(prepare: (put: Put) => string = () => ''): Promise<TcpServer> {
  const { folder, owner } = makeFolder()
  const bin = debianPrograms().at(-1)?.bin ?? unpack(folder)
  const dataDir = join(folder, 'data')
  const init = ['-D', dataDir, '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--locale=C', '--no-sync']
  run(join(bin, 'initdb'), init, owner)
  const more = prepare((name, text) => {
    writeFileSync(join(dataDir, name), text, { mode: 0o600 })
    if (owner) chownSync(join(dataDir, name), owner.uid, owner.gid)
  })
  appendFileSync(join(dataDir, 'postgresql.conf'), `\nfsync = off\n${more}\n`)
  return serverIn(folder, bin, owner)
}

function makeFolder(): { folder: string; owner: Owner | undefined } {
  const folder = mkdtempSync(join(tmpdir(), 'pgbq-tcp-'))
  chmodSync(folder, 0o755)
  const owner = serverOwner(join(folder, 'data'))
  if (owner) chownSync(folder, owner.uid, owner.gid)
  return { folder, owner }
}

function unpack(folder: string): string {
  installPrograms(findPackage(), join(folder, 'programs'), join(folder, 'unpacking'), isRoot())
  return join(folder, 'programs', 'bin')
}

async function serverIn(folder: string, bin: string, owner: Owner | undefined): Promise<TcpServer> {
  const port = await freePort()
  const dataDir = join(folder, 'data')
  const sessions: Database[] = []
  let child: ChildProcess | undefined
  const server: TcpServer = {
    folder,
    dataDir,
    port,
    async admin() {
      const target = resolveTarget(`host=${folder} port=${port} user=postgres`, {})
      const session = await Database.connect(target, { applicationName: 'pgbq tests' })
      sessions.push(session)
      return session
    },
    async start() {
      const where = ['-c', 'listen_addresses=127.0.0.1', '-c', `unix_socket_directories=${folder}`]
      child = spawn(join(bin, 'postgres'), ['-D', dataDir, '-p', String(port), ...where], {
        ...as(owner),
        stdio: ['ignore', 'ignore', 'pipe'],
      })
      await isUp(child, server)
    },
    async halt(signal = 'SIGINT') {
      await Promise.all(sessions.splice(0).map((session) => session.close()))
      if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
      const ended = new Promise((resolve) => child!.once('exit', resolve))
      child.kill(signal)
      await ended
    },
    async copyAsStandby() {
      const copy = makeFolder()
      run('cp', ['-R', dataDir, copy.folder], owner)
      chmodSync(join(copy.folder, 'data'), 0o700)
      run('touch', [join(copy.folder, 'data', 'standby.signal')], owner)
      return serverIn(copy.folder, bin, copy.owner)
    },
    async remove() {
      await server.halt()
      rmSync(folder, { recursive: true, force: true })
    },
  }
  return server
}

const as = (owner: Owner | undefined) => ({
  cwd: '/',
  ...(owner ? { uid: owner.uid, gid: owner.gid } : {}),
})

function run(program: string, args: string[], owner: Owner | undefined): void {
  const { status, stdout, stderr } = spawnSync(program, args, { ...as(owner), encoding: 'utf8' })
  if (status !== 0) throw new Error(`${program} ended with ${status}: ${stdout}${stderr}`)
}

async function isUp(child: ChildProcess, server: TcpServer): Promise<void> {
  let output = ''
  child.stderr!.setEncoding('utf8').on('data', (text: string) => {
    output += text
  })
  await waitFor('the server to take connections', async () => {
    if (child.exitCode !== null) throw new Error(`postgres ended with ${child.exitCode}: ${output}`)
    return server.admin().catch(() => undefined)
  })
}
