import type { LedgerTask } from '../../ledger.js'
import { importPeer, main } from './peer-program.js'

/** What is used of https://pgboss.io/api/workers */
interface Boss {
  on(event: 'error', listener: (error: Error) => void): void
  start(): Promise<unknown>
  stop(): Promise<void>
  createQueue(name: string): Promise<void>
  send(name: string, data: LedgerTask): Promise<unknown>
  work(name: string, handler: (jobs: { data: LedgerTask }[]) => Promise<void>): Promise<unknown>
}

const { PgBoss } = await importPeer<{ PgBoss: new (url: string) => Boss }>('pg-boss')

async function startBoss(url: string): Promise<Boss> {
  const boss = new PgBoss(url)
  boss.on('error', (error) => process.stderr.write(`${error.stack}\n`))
  await boss.start()
  return boss
}

await main({
  async fill(url, tasks) {
    const boss = await startBoss(url)
    await boss.createQueue('ledger')
    for (const task of tasks) await boss.send('ledger', task)
    await boss.stop()
  },
  async work(url, runTask) {
    const boss = await startBoss(url)
    await boss.work('ledger', async (jobs) => {
      for (const { data } of jobs) await runTask(data)
    })
  },
})
