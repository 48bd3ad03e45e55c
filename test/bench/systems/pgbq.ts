import { type ChildProcess, spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { install } from '#pgbq/engine/migrator'
import { type LedgerTask, type Run, taskSql } from '../ledger.js'
import { PACKAGE_ROOT } from '../package-root.js'
import type { BenchDatabase } from '../server.js'
import type { Books, System } from './system.js'

/** Our own queue, as `pgbq work` runs it. */
export class Pgbq implements System {
  readonly name = 'pgbq'
  readonly version = (
    JSON.parse(readFileSync(join(PACKAGE_ROOT, 'package.json'), 'utf8')) as { version: string }
  ).version
  readonly documented = 'under 1 s'
  private database!: BenchDatabase
  private supervisor: ChildProcess | undefined
  private exited: Promise<void> = Promise.resolve()
  private hasLeft = false
  private errors = ''

  async setUp(database: BenchDatabase, tasks: LedgerTask[]): Promise<void> {
    this.database = database
    await install(database.session)
    await database.session.query('select pg_background_enqueue(s) from unnest($1::text[]) s', [
      tasks.map(taskSql),
    ])
  }

  async start(workers: number): Promise<void> {
    const args = [join(PACKAGE_ROOT, 'bin', 'run.js'), 'work', '--json', '--concurrency', String(workers)]
    const supervisor = spawn(process.execPath, args, {
      env: { ...process.env, PGBQ_DATABASE_URL: this.database.url },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    this.supervisor = supervisor
    this.exited = new Promise((resolve) =>
      supervisor.once('close', () => {
        this.hasLeft = true
        resolve()
      }),
    )
    supervisor.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.errors += text
    })
    const lines = createInterface({ input: supervisor.stdout })
    await new Promise<void>((resolve, reject) => {
      lines.on('line', (line) => {
        if ((JSON.parse(line) as { event?: string }).event === 'ready') resolve()
      })
      void this.exited.then(() => reject(this.leftError()))
    })
  }

  async processOf(run: Run): Promise<number | undefined> {
    if (this.hasLeft) throw this.leftError()
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
    if (!this.hasLeft) this.supervisor?.kill('SIGTERM')
    await this.exited
  }

  private leftError(): Error {
    return new Error(`pgbq work left unasked: ${this.errors}`)
  }
}
