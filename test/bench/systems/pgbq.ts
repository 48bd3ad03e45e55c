import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { install } from '#pgbq/engine/migrator'
import { type LedgerTask, type Run, taskSql } from '../ledger.js'
import { PACKAGE_ROOT } from '../package-root.js'
import type { BenchDatabase } from '../server.js'
import { PgbqWork } from './pgbq-work.js'
import type { Books, System } from './system.js'

export const PGBQ_VERSION = (
  JSON.parse(readFileSync(join(PACKAGE_ROOT, 'package.json'), 'utf8')) as { version: string }
).version

/** Our own queue, as `pgbq work` runs it. */
export class Pgbq implements System {
  readonly name = 'pgbq'
  readonly version = PGBQ_VERSION
  readonly documented = 'under 1 s'
  private database!: BenchDatabase
  private working: PgbqWork | undefined

  async setUp(database: BenchDatabase, tasks: LedgerTask[]): Promise<void> {
    this.database = database
    await install(database.session)
    await database.session.query('select pg_background_enqueue(s) from unnest($1::text[]) s', [
      tasks.map(taskSql),
    ])
  }

  async start(workers: number): Promise<void> {
    this.working = await PgbqWork.start(this.database.url, ['--concurrency', String(workers)])
  }

  async processOf(run: Run): Promise<number | undefined> {
    this.working?.check()
    const [worker] = await this.database.session.query<{ pid: number }>(
      'select pid from background_queue.workers where backend_pid = $1',
      [run.backendPid],
    )
    return worker?.pid
  }

  kill(pid: number): void {
    process.kill(pid, 'SIGKILL')
  }

  async books(): Promise<Books> {
    const rows = await this.database.session.query<{ n: number; is_final: boolean }>(
      `select substring(sql_statement from '\\((\\d+)')::integer as n, state in ('failed', 'cancelled') as is_final
       from pg_background_tasks where state <> 'finished' order by id`,
    )
    return {
      open: rows.filter((row) => !row.is_final).map((row) => row.n),
      failed: rows.filter((row) => row.is_final).map((row) => row.n),
    }
  }

  async stop(): Promise<void> {
    await this.working?.stop()
  }
}
