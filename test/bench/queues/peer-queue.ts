import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { BenchDatabase } from '../server.js'
import type { PeerName, PeerPackages } from '../systems/peer-packages.js'
import type { Queue, QueueKind } from './queue.js'
import { literal, type Workload } from './workload.js'

/** How a peer's workers run: with its default settings, in batches, or with a whole batch in one transaction. */
export type PeerStyle = 'defaults' | 'batches' | 'transactions'

/** What a peer's process is forked for. */
export type PeerOrder =
  | { do: 'install' }
  | { do: 'fill'; work: Workload }
  | { do: 'work'; slots: number; style: PeerStyle }

interface Peer {
  package: PeerName
  style: PeerStyle
  name: string
  /** counts the tasks that are not finished */
  unfinished: string
  enqueueSql(taskSql: string): string
}

const GRAPHILE = {
  package: 'graphile-worker' as const,
  unfinished: 'select count(*)::integer as count from graphile_worker._private_jobs',
  enqueueSql: (taskSql: string): string =>
    `select graphile_worker.add_job('bench', json_build_object('sql', ${literal(taskSql)}))`,
}

const BOSS = {
  package: 'pg-boss' as const,
  unfinished: `select count(*)::integer as count from pgboss.job where name = 'bench' and state <> 'completed'`,
  enqueueSql: (): string => {
    throw new Error('pg-boss has no SQL that enqueues')
  },
}

/** Both with as many slots as pgbq, in one process, as their documentation advises. */
const PEERS: Peer[] = [
  { ...GRAPHILE, style: 'defaults', name: 'graphile-worker, defaults' },
  { ...GRAPHILE, style: 'batches', name: 'graphile-worker, batches of 500' },
  { ...BOSS, style: 'batches', name: 'pg-boss, batches of 100' },
  { ...BOSS, style: 'transactions', name: 'pg-boss, transactions of 100' },
]

class PeerQueue implements Queue {
  private database!: BenchDatabase
  private worker: ChildProcess | undefined
  private failure: Error | undefined

  constructor(
    private readonly peer: Peer,
    private readonly packages: PeerPackages,
  ) {}

  async install(database: BenchDatabase): Promise<void> {
    this.database = database
    await this.order({ do: 'install' })
  }

  async fill(work: Workload): Promise<void> {
    await this.order({ do: 'fill', work })
  }

  enqueueSql(taskSql: string): string {
    return this.peer.enqueueSql(taskSql)
  }

  async start(slots: number): Promise<void> {
    const worker = this.fork()
    this.worker = worker
    worker.on('exit', (code, signal) => {
      if (this.worker === worker)
        this.failure = new Error(`${this.peer.name} left unasked with ${code ?? signal}`)
    })
    worker.send({ do: 'work', slots, style: this.peer.style } satisfies PeerOrder)
    await Promise.race([once(worker, 'message'), once(worker, 'exit')])
    this.pid()
  }

  pid(): number | undefined {
    if (this.failure !== undefined) throw this.failure
    return this.worker?.pid
  }

  async unfinished(): Promise<number> {
    return (await this.database.session.one<{ count: number }>(this.peer.unfinished)).count
  }

  async stop(): Promise<void> {
    const worker = this.worker
    this.worker = undefined
    if (worker === undefined || worker.exitCode !== null || worker.signalCode !== null) return
    const exited = once(worker, 'exit')
    worker.kill('SIGKILL')
    await exited
  }

  private async order(order: PeerOrder): Promise<void> {
    const child = this.fork()
    child.send(order)
    const [code] = (await once(child, 'exit')) as [number | null]
    if (code !== 0) throw new Error(`${this.peer.name} could not ${order.do}: its process left with ${code}`)
  }

  private fork(): ChildProcess {
    return fork(fileURLToPath(new URL(`programs/${this.peer.package}.js`, import.meta.url)), [], {
      execPath: this.packages.node,
      env: { ...process.env, BENCH_URL: this.database.url, BENCH_PACKAGES: this.packages.folder },
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    })
  }
}

export const peerKinds = (packages: PeerPackages): QueueKind[] =>
  PEERS.map((peer) => ({ name: peer.name, make: () => new PeerQueue(peer, packages) }))
