import { setTimeout as sleep } from 'node:timers/promises'
import { QueueError } from '../engine/errors.js'
import type { Arena } from './arena.js'
import { Host, type HostEvent } from './host.js'
import { counted } from './patience.js'
import { urlOf } from './url.js'

const SLOTS = 3
const READY_MS = 30_000
const STOP_MS = 40_000
const TRY_AGAIN_MS = 300
const LOOK_EVERY_MS = 20

/** Where a host of the fleet stands: how it reaches the server. */
export interface Berth {
  name: string
  url: string
  wrapper?: string[] | undefined
}

export interface FleetOptions {
  arena: Arena
  /** in place of `pgbq work`: tests put a broken one there */
  command?: string[] | undefined
  onEvent(event: HostEvent): void
}

/** The hosts on which workers run, each in its berth; what dies is replaced, what should not have died is noted. */
export class Fleet {
  /** ends of supervisors that nobody asked for */
  readonly surprises: string[] = []
  private readonly options: FleetOptions
  private readonly berths: Berth[]
  private readonly manned = new Map<string, Host>()
  private isOver = false

  constructor(options: FleetOptions) {
    this.options = options
    this.berths = berthsOf(options.arena)
  }

  get hosts(): Host[] {
    return [...this.manned.values()]
  }

  /** Those that may be struck: alive and ready. */
  get targets(): Host[] {
    return this.hosts.filter((host) => host.isAlive && host.isReady && !host.isEnding)
  }

  at(berth: string): Host | undefined {
    return this.manned.get(berth)
  }

  /** The host of a worker's process. */
  of(workerPid: number): Host | undefined {
    return this.hosts.find((host) => host.workers.has(workerPid))
  }

  /** Errors: HOST_NOT_READY. */
  async start(): Promise<void> {
    for (const berth of this.berths) this.man(berth)
    await Promise.all(this.hosts.map((host) => this.ready(host)))
  }

  /** A new supervisor where one was. */
  man(berth: Berth): Host {
    const { arena, command, onEvent } = this.options
    const host = new Host({
      ...berth,
      slots: SLOTS,
      passFile: arena.passwords.file,
      folder: arena.folder,
      command,
      onEvent,
    })
    this.manned.set(berth.name, host)
    void host.exited.then((code) => this.onExit(berth, host, code))
    return host
  }

  /** One that leaves before it was ready found no server, as it happens in a storm; it is tried again. */
  private async onExit(berth: Berth, host: Host, code: number | null): Promise<void> {
    if (host.isEnding) return
    if (host.isReady) this.surprises.push(`host ${berth.name} left with ${code}:\n${host.lastWords}`)
    else await sleep(TRY_AGAIN_MS)
    if (!this.isOver) this.man(berth)
  }

  replace(host: Host): Host {
    return this.man(this.berths.find(({ name }) => name === host.name)!)
  }

  /** Whoever is in the berth by then. Errors: HOST_NOT_READY. */
  async ready({ name }: Host): Promise<void> {
    for (let leftMs = READY_MS; !this.at(name)!.isReady; leftMs -= counted(LOOK_EVERY_MS)) {
      if (leftMs <= 0) {
        const { lastWords } = this.at(name)!
        throw new QueueError('HOST_NOT_READY', `pgbq work on host ${name} is not ready: ${lastWords}`)
      }
      await sleep(LOOK_EVERY_MS)
    }
  }

  /** After the storm every berth has to be manned again; one that stays empty is a surprise. */
  async gather(): Promise<void> {
    const waiting = this.hosts.map((host) =>
      this.ready(host).catch((error: Error) => void this.surprises.push(error.message)),
    )
    await Promise.all(waiting)
  }

  /** Asks a host to stop, and says how it did: false where it had to be killed or left with another code than 0. */
  async stop(host: Host): Promise<boolean> {
    host.isEnding = true
    host.kill('SIGTERM')
    const code = await Promise.race([host.exited, sleep(STOP_MS, 'late' as const, { ref: false })])
    if (code === 0) return true
    this.surprises.push(`host ${host.name} did not stop cleanly (${code}):\n${host.lastWords}`)
    host.killAll('SIGKILL')
    await host.exited
    return false
  }

  async stopAll(): Promise<void> {
    this.isOver = true
    await Promise.all(this.hosts.filter((host) => host.isAlive).map((host) => this.stop(host)))
  }

  /** Whatever happens, nothing of the fleet runs afterwards. */
  async end(): Promise<void> {
    this.isOver = true
    for (const host of this.hosts) {
      host.isEnding = true
      host.killAll('SIGCONT')
      host.killAll('SIGKILL')
    }
    await Promise.all(this.hosts.map((host) => host.exited))
  }
}

function berthsOf(arena: Arena): Berth[] {
  const target = arena.targetOf(arena.owner)
  const url = urlOf(target)
  const network = arena.own?.network
  const remote = network && urlOf({ config: { ...target.config, host: network.host } })
  const { pooler } = arena
  const pooled = pooler && urlOf({ config: { ...target.config, host: pooler.host, port: pooler.port } })
  return [
    { name: 'a', url },
    { name: 'b', url },
    ...(pooled ? [{ name: 'pooled', url: pooled }] : []),
    ...(remote ? [{ name: 'remote', url: remote, wrapper: network.clientWrapper }] : []),
  ]
}
