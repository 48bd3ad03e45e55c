import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chownSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Owner, serverOwner } from '../embedded/owner.js'

const PORT = 6432
const READY_MS = 10_000

/** A pgbouncer in session mode on a unix socket of its own, in front of a server of our own. */
export class Pooler {
  /** where its socket is */
  readonly host: string
  readonly port = PORT
  private readonly program: string
  private readonly owner: Owner | undefined = serverOwner('')
  private process: ChildProcess | undefined

  private constructor(program: string) {
    this.program = program
    this.host = mkdtempSync(join(tmpdir(), 'pgbq-torture-pooler-'))
  }

  /** Undefined where there is no pgbouncer. `server`: the folder of the server's socket; roles: who may come in. */
  static async start(server: string, roles: string[]): Promise<Pooler | undefined> {
    const program = findProgram()
    if (program === undefined) return undefined
    const pooler = new Pooler(program)
    pooler.configure(server, roles)
    try {
      await pooler.launch()
      return pooler
    } catch (error) {
      await pooler.stop()
      throw error
    }
  }

  /** The server trusts whoever can enter its folder, and so does this one. */
  private configure(server: string, roles: string[]): void {
    const file = (name: string): string => join(this.host, name)
    writeFileSync(file('users.txt'), roles.map((role) => `"${role}" ""\n`).join(''))
    writeFileSync(
      file('pgbouncer.ini'),
      `[databases]
* = host=${server} port=5432
[pgbouncer]
listen_addr =
listen_port = ${PORT}
unix_socket_dir = ${this.host}
auth_type = trust
auth_file = ${file('users.txt')}
pool_mode = session
default_pool_size = 20
server_login_retry = 1
`,
    )
    if (this.owner) chownSync(this.host, this.owner.uid, this.owner.gid)
  }

  async launch(): Promise<void> {
    // a killed one leaves its socket
    rmSync(this.socket, { force: true })
    const user = this.owner ? { uid: this.owner.uid, gid: this.owner.gid } : {}
    this.process = spawn(this.program, [join(this.host, 'pgbouncer.ini')], {
      ...user,
      cwd: '/',
      stdio: 'ignore',
    })
    this.process.on('error', () => undefined)
    for (const giveUpAt = Date.now() + READY_MS; !existsSync(this.socket); await sleep(20)) {
      if (this.process.exitCode !== null || Date.now() > giveUpAt)
        throw new Error(`${this.program} does not start (exit code ${this.process.exitCode})`)
    }
  }

  async kill(): Promise<void> {
    const { process } = this
    if (!process?.pid || process.exitCode !== null || process.signalCode !== null) return
    const ended = once(process, 'exit')
    process.kill('SIGKILL')
    await ended
  }

  async stop(): Promise<void> {
    await this.kill()
    rmSync(this.host, { recursive: true, force: true })
  }

  private get socket(): string {
    return join(this.host, `.s.PGSQL.${PORT}`)
  }
}

function findProgram(): string | undefined {
  return [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/usr/local/sbin']
    .map((folder) => join(folder, 'pgbouncer'))
    .find((file) => existsSync(file))
}
