import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { isRoot, serverOwner } from '../embedded/owner.js'

const SERVER_IP = '10.77.1.2'
const CLIENT_IP = '10.77.2.2'

/**
 * Three network namespaces of our own: the server's, the workers', and a router between them. Nothing of the
 * machine's own network is touched, and nothing outside can be reached.
 */
export class Network {
  private readonly id = randomBytes(3).toString('hex')

  /** Undefined where none can be made: that takes root on Linux, and `ip`. */
  static make(): Network | undefined {
    if (process.platform !== 'linux' || !isRoot()) return undefined
    const network = new Network()
    try {
      network.build()
      return network
    } catch {
      network.remove()
      return undefined
    }
  }

  private build(): void {
    for (const end of ['server', 'router', 'client']) ip(['netns', 'add', this.name(end)])
    this.join('server', '10.77.1')
    this.join('client', '10.77.2')
    this.inside('router', ['sysctl', '-q', '-w', 'net.ipv4.ip_forward=1'])
    for (const end of ['server', 'router', 'client']) this.inside(end, ['ip', 'link', 'set', 'lo', 'up'])
  }

  /** One end and the router: .1 is the router's, .2 the end's. */
  private join(end: string, subnet: string): void {
    const [near, far] = [`${end.slice(0, 1)}${this.id}a`, `${end.slice(0, 1)}${this.id}b`]
    ip([
      'link',
      'add',
      near,
      'netns',
      this.name(end),
      'type',
      'veth',
      'peer',
      'name',
      far,
      'netns',
      this.name('router'),
    ])
    this.inside(end, ['ip', 'addr', 'add', `${subnet}.2/24`, 'dev', near])
    this.inside('router', ['ip', 'addr', 'add', `${subnet}.1/24`, 'dev', far])
    this.inside(end, ['ip', 'link', 'set', near, 'up'])
    this.inside('router', ['ip', 'link', 'set', far, 'up'])
    this.inside(end, ['ip', 'route', 'add', 'default', 'via', `${subnet}.1`])
  }

  /** What the server needs to listen in its namespace; workers there are trusted, for nobody else can come. */
  serverSettings(home: string): Record<string, string> {
    const hba = join(home, 'pg_hba.conf')
    writeFileSync(hba, `local all all trust\nhost all all ${CLIENT_IP}/32 trust\n`)
    return { listen_addresses: SERVER_IP, hba_file: hba }
  }

  get serverWrapper(): string[] {
    const owner = serverOwner('')!
    const drop = ['setpriv', `--reuid=${owner.uid}`, `--regid=${owner.gid}`, '--clear-groups']
    return [...this.within('server'), ...drop]
  }

  /** In front of a command that shall run where the workers are. */
  get clientWrapper(): string[] {
    return this.within('client')
  }

  readonly host = SERVER_IP

  /** Packets are dropped without a word. */
  cutSilently(): void {
    this.inside('router', ['sysctl', '-q', '-w', 'net.ipv4.ip_forward=0'])
  }

  /**
   * A client that sends is told that the other end knows of no connection: the router takes the server's address, and
   * drops what comes from there. (With the client's too, its resets would go to itself.)
   */
  cutLoudly(): void {
    this.inside('router', ['ip', 'addr', 'add', `${SERVER_IP}/32`, 'dev', 'lo'])
  }

  heal(): void {
    this.inside('router', ['sysctl', '-q', '-w', 'net.ipv4.ip_forward=1'])
    spawnSync('ip', [...NETNS_EXEC, this.name('router'), 'ip', 'addr', 'del', `${SERVER_IP}/32`, 'dev', 'lo'])
  }

  remove(): void {
    for (const end of ['server', 'router', 'client']) spawnSync('ip', ['netns', 'del', this.name(end)])
  }

  private name(end: string): string {
    return `pgbq-${this.id}-${end}`
  }

  private within(end: string): string[] {
    return ['ip', ...NETNS_EXEC, this.name(end)]
  }

  private inside(end: string, command: string[]): void {
    ip([...NETNS_EXEC, this.name(end), ...command])
  }
}

const NETNS_EXEC = ['netns', 'exec']

function ip(args: string[]): void {
  const done = spawnSync('ip', args, { encoding: 'utf8' })
  if (done.status !== 0) throw new Error(`ip ${args.join(' ')}: ${done.stderr || done.error?.message}`)
}
