import { install } from '#pgbq/engine/migrator'
import type { BenchDatabase } from '../server.js'
import { PgbqWork } from '../systems/pgbq-work.js'
import type { Queue, QueueKind } from './queue.js'
import { literal, statementSql, topicSql, type Workload } from './workload.js'

/** Parameters of the whole queue by name. */
export type Parameters = Record<string, string>

/** Our own queue. Slots are both the queue's limit and the host's. */
export class PgbqQueue implements Queue {
  private database!: BenchDatabase
  private work: PgbqWork | undefined

  /** args: for `pgbq work`, beside --concurrency */
  constructor(
    private readonly parameters: Parameters = {},
    private readonly args: string[] = [],
  ) {}

  async install(database: BenchDatabase): Promise<void> {
    this.database = database
    await install(database.session)
    for (const [name, value] of Object.entries(this.parameters)) await this.set(name, value)
  }

  async set(name: string, value: string, topic?: string): Promise<void> {
    await this.database.session.query('select background_queue.set_parameter($1, $2, $3)', [
      topic === undefined ? '' : `/${topic}`,
      name,
      value,
    ])
  }

  async fill(work: Workload): Promise<void> {
    await this.database.session.query(
      `insert into background_queue.inbox_many (statements, topics)
       select array_agg(${statementSql(work)} order by g), array_agg(${topicSql(work)} order by g)
       from generate_series(1, ${work.count}) g`,
    )
  }

  enqueueSql(taskSql: string): string {
    return `select pg_background_enqueue(${literal(taskSql)})`
  }

  async start(slots: number): Promise<void> {
    await this.set('max_parallel_running_tasks_count', String(slots))
    const args = ['--concurrency', String(slots), '--warm', String(slots), ...this.args]
    this.work = await PgbqWork.start(this.database.url, args)
  }

  pid(): number | undefined {
    this.work?.check()
    return this.work?.pid
  }

  async unfinished(): Promise<number> {
    const { count } = await this.database.session.one<{ count: number }>(
      "select count(*)::integer as count from pg_background_tasks where state <> 'finished'",
    )
    return count
  }

  async stop(): Promise<void> {
    await this.work?.stop()
    this.work = undefined
  }
}

export const PGBQ_KIND: QueueKind = { name: 'pgbq', make: () => new PgbqQueue() }

/** With grouped commits of up to so many tasks. */
export const groupedPgbq = (size: number): QueueKind => ({
  name: `pgbq, groups of ${size}`,
  make: () => new PgbqQueue({ max_tasks_per_commit: String(size) }),
})
