import type { LedgerTask, Run } from '../ledger.js'
import type { BenchDatabase } from '../server.js'
import type { PeerName, PeerPackages } from './peer-packages.js'
import { PeerProcesses } from './peer-processes.js'
import { applicationName } from './programs/application-name.js'
import type { Books, System } from './system.js'

interface Peer {
  name: PeerName
  documented: string
  /** rows (n, is_final) of the tasks that are not finished */
  books: string
}

/**
 * Locks of jobs end 4 hours after they were taken: https://worker.graphile.org/docs/pro/recovery. A finished job's
 * row is deleted; one that used up its attempts stays.
 */
const GRAPHILE_WORKER: Peer = {
  name: 'graphile-worker',
  documented: '4 h',
  books: `select (payload->>'n')::integer as n, attempts >= max_attempts and locked_at is null as is_final
    from graphile_worker._private_jobs order by id`,
}

/**
 * expireInSeconds is 15 minutes, monitorIntervalSeconds 60, heartbeatSeconds not set:
 * https://pgboss.io/api/queues
 */
const PG_BOSS: Peer = {
  name: 'pg-boss',
  documented: '15 to 16 min',
  books: `select (data->>'n')::integer as n, state in ('failed', 'cancelled') as is_final
    from pgboss.job where name = 'ledger' and state <> 'completed' order by created_on`,
}

/** Another queue, whose handler sends the task's SQL through pg. */
class PeerSystem implements System {
  readonly name: string
  readonly version: string
  readonly documented: string
  private database!: BenchDatabase
  private processes: PeerProcesses | undefined

  constructor(
    private readonly peer: Peer,
    private readonly packages: PeerPackages,
  ) {
    this.name = peer.name
    this.documented = peer.documented
    this.version = packages.versionOf(peer.name)
  }

  async setUp(database: BenchDatabase, tasks: LedgerTask[]): Promise<void> {
    this.database = database
    this.processes = new PeerProcesses(this.peer.name, this.packages, database.url)
    await this.processes.fill(tasks)
  }

  async start(workers: number): Promise<void> {
    await this.processes?.start(workers)
  }

  async processOf(run: Run): Promise<number | undefined> {
    const pid = Number(run.applicationName.slice(applicationName('').length))
    return this.processes?.has(pid) ? pid : undefined
  }

  kill(pid: number): void {
    this.processes?.kill(pid)
  }

  async books(): Promise<Books> {
    const rows = await this.database.session.query<{ n: number; is_final: boolean }>(this.peer.books)
    return {
      open: rows.filter((row) => !row.is_final).map((row) => row.n),
      failed: rows.filter((row) => row.is_final).map((row) => row.n),
    }
  }

  async stop(): Promise<void> {
    await this.processes?.stop()
  }
}

export const graphileWorker = (packages: PeerPackages): System => new PeerSystem(GRAPHILE_WORKER, packages)
export const pgBoss = (packages: PeerPackages): System => new PeerSystem(PG_BOSS, packages)
