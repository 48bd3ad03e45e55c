import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { chmod, chown, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { findUser, isRoot } from '../../src/embedded/owner.js'
import { resolveTarget } from '../../src/engine/database/target.js'
import { waitFor } from './wait.js'

/** pgbouncer's program, where this machine has it. */
export function findPgbouncer(): string | undefined {
  return [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/usr/local/sbin']
    .map((folder) => join(folder, 'pgbouncer'))
    .find((file) => existsSync(file))
}

export interface PoolerOptions {
  /** a URL of the server behind it; every database of that server can be reached */
  serverUrl: string
  mode: 'session' | 'transaction' | 'statement'
  /** who may log in, and how: pgbouncer logs in at the server with the same */
  users: { name: string; password: string }[]
  /** more lines of the section [pgbouncer], such as default_pool_size */
  settings?: Record<string, string | number>
  /** lines of the section [users], such as `alice = pool_mode=transaction` */
  userSettings?: string
}

/** A pgbouncer of our own on a port of 127.0.0.1. */
export interface Pooler {
  readonly port: number
  /** the same database and role, through the pooler */
  through(url: string): string
  /** what it has logged so far */
  log(): string
  /** kill -9, and the same again: its port stays */
  kill(): Promise<void>
  start(): Promise<void>
  /** ends it and removes its folder */
  stop(): Promise<void>
}

export async function startPooler(options: PoolerOptions): Promise<Pooler> {
  const program = findPgbouncer()!
  const folder = await mkdtemp(join(tmpdir(), 'pgbq-pooler-'))
  const port = await freePort()
  // it refuses to run as root
  const users = readFileSync('/etc/passwd', 'utf8')
  const user = isRoot() ? (findUser(users, 'postgres') ?? findUser(users, 'nobody')) : undefined
  await writeFile(join(folder, 'pgbouncer.ini'), ini(options, folder, port))
  await writeFile(
    join(folder, 'users.txt'),
    options.users.map(({ name, password }) => `"${name}" "${password}"\n`).join(''),
  )
  await chmod(folder, 0o700)
  if (user) await chown(folder, user.uid, user.gid)
  let child: ChildProcess
  let output = ''
  const pooler: Pooler = {
    port,
    through(url) {
      const { config } = resolveTarget(url)
      return `postgresql://${config.user}:${config.password}@127.0.0.1:${port}/${config.database}`
    },
    log: () => output,
    async start() {
      const ids = user ? { uid: user.uid, gid: user.gid } : {}
      child = spawn(program, [join(folder, 'pgbouncer.ini')], {
        ...ids,
        cwd: '/',
        stdio: ['ignore', 'ignore', 'pipe'],
      })
      const before = output.length
      child.stderr!.setEncoding('utf8').on('data', (chunk: string) => {
        output += chunk
      })
      await waitFor('pgbouncer to listen', () => {
        if (child.exitCode !== null) throw new Error(`pgbouncer left: ${output}`)
        return output.slice(before).includes('process up')
      })
    },
    async kill() {
      if (child.exitCode !== null || child.signalCode !== null) return
      const ended = new Promise((resolve) => child.once('exit', resolve))
      child.kill('SIGKILL')
      await ended
    },
    async stop() {
      await pooler.kill()
      await rm(folder, { recursive: true, force: true })
    },
  }
  await pooler.start()
  return pooler
}

/** https://www.pgbouncer.org/config.html; without a log file it logs to stderr. */
function ini(
  { serverUrl, mode, settings = {}, userSettings = '' }: PoolerOptions,
  folder: string,
  port: number,
): string {
  const { config } = resolveTarget(serverUrl)
  const lines = {
    listen_addr: '127.0.0.1',
    listen_port: port,
    unix_socket_dir: '',
    auth_type: 'scram-sha-256',
    auth_file: join(folder, 'users.txt'),
    pool_mode: mode,
    max_client_conn: 200,
    ...settings,
  }
  const text = Object.entries(lines).map(([name, value]) => `${name} = ${value}`)
  return `[databases]\n* = host=${config.host} port=${config.port}\n[users]\n${userSettings}\n[pgbouncer]\n${text.join('\n')}\n`
}

export async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  await new Promise((resolve) => server.close(resolve))
  return port
}
