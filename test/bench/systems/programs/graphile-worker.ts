import type { LedgerTask } from '../../ledger.js'
import { importPeer, main } from './peer-program.js'

/** What is used of https://worker.graphile.org/docs/library/run */
interface GraphileWorker {
  makeWorkerUtils(options: { connectionString: string }): Promise<{
    migrate(): Promise<void>
    addJob(task: string, payload: LedgerTask): Promise<unknown>
    release(): Promise<void>
  }>
  run(options: {
    connectionString: string
    taskList: Record<string, (payload: LedgerTask) => Promise<void>>
  }): Promise<unknown>
}

const graphile = await importPeer<GraphileWorker>('graphile-worker')

await main({
  async fill(connectionString, tasks) {
    const utils = await graphile.makeWorkerUtils({ connectionString })
    await utils.migrate()
    for (const task of tasks) await utils.addJob('ledger', task)
    await utils.release()
  },
  async work(connectionString, runTask) {
    await graphile.run({ connectionString, taskList: { ledger: runTask } })
  },
})
