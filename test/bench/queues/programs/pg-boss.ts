import { importPeer } from '../../systems/programs/peer-program.js'
import { statementOf } from '../workload.js'
import { main } from './peer-program.js'

interface Payload {
  sql: string
}

interface Transaction {
  executeSql(sql: string): Promise<unknown>
}

/** What is used of https://pgboss.io/api/workers */
interface Boss {
  on(event: 'error', listener: (error: Error) => void): void
  start(): Promise<unknown>
  stop(): Promise<void>
  createQueue(name: string): Promise<void>
  insert(name: string, jobs: { data: Payload }[]): Promise<unknown>
  work(
    name: string,
    options: Record<string, unknown>,
    handler: (jobs: { data: Payload }[], transaction?: Transaction) => Promise<void>,
  ): Promise<unknown>
}

const { PgBoss } = await importPeer<{
  PgBoss: new (options: { connectionString: string; max: number }) => Boss
}>('pg-boss')

const PART = 5000
const BATCH = 100

async function startBoss(connectionString: string, slots: number): Promise<Boss> {
  const boss = new PgBoss({ connectionString, max: Math.max(10, slots + 2) })
  boss.on('error', (error) => process.stderr.write(`${error.stack}\n`))
  await boss.start()
  return boss
}

await main({
  async install(url) {
    const boss = await startBoss(url, 1)
    await boss.createQueue('bench')
    await boss.stop()
  },
  async fill(url, work) {
    const boss = await startBoss(url, 1)
    for (let first = 1; first <= work.count; first += PART) {
      const length = Math.min(PART, work.count - first + 1)
      const jobs = Array.from({ length }, (_, i) => ({ data: { sql: statementOf(work, first + i) } }))
      await boss.insert('bench', jobs)
    }
    await boss.stop()
  },
  async work(url, slots, style, runSql) {
    const boss = await startBoss(url, slots)
    const transactional = style === 'transactions'
    const options = {
      batchSize: BATCH,
      localConcurrency: slots,
      burstWhenBatchFull: true,
      pollingIntervalSeconds: 0.5,
      transactional,
    }
    await boss.work('bench', options, async (jobs, transaction) => {
      const run = transaction === undefined ? runSql : (sql: string) => transaction.executeSql(sql)
      for (const { data } of jobs) await run(data.sql)
    })
  },
})
