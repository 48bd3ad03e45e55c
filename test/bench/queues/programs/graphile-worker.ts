import { importPeer } from '../../systems/programs/peer-program.js'
import { statementOf } from '../workload.js'
import { main } from './peer-program.js'

interface Payload {
  sql: string
}

interface Utils {
  migrate(): Promise<void>
  addJobs(jobs: { identifier: string; payload: Payload }[]): Promise<unknown>
  release(): Promise<void>
}

/** What is used of https://worker.graphile.org/docs/library/run and …/docs/performance */
interface GraphileWorker {
  Logger: new (log: () => () => void) => unknown
  makeWorkerUtils(options: { connectionString: string }): Promise<Utils>
  run(options: {
    connectionString: string
    concurrency: number
    logger: unknown
    taskList: Record<string, (payload: Payload) => Promise<void>>
    preset?: { worker: Record<string, unknown> }
  }): Promise<unknown>
}

const graphile = await importPeer<GraphileWorker>('graphile-worker')

const PART = 5000
const BATCHES = { worker: { localQueue: { size: 500 }, completeJobBatchDelay: 0, failJobBatchDelay: 0 } }

async function withUtils(connectionString: string, use: (utils: Utils) => Promise<void>): Promise<void> {
  const utils = await graphile.makeWorkerUtils({ connectionString })
  await use(utils)
  await utils.release()
}

await main({
  install: (url) => withUtils(url, (utils) => utils.migrate()),
  fill: (url, work) =>
    withUtils(url, async (utils) => {
      for (let first = 1; first <= work.count; first += PART) {
        const length = Math.min(PART, work.count - first + 1)
        const numbers = Array.from({ length }, (_, i) => first + i)
        await utils.addJobs(
          numbers.map((n) => ({ identifier: 'bench', payload: { sql: statementOf(work, n) } })),
        )
      }
    }),
  async work(connectionString, concurrency, style, runSql) {
    await graphile.run({
      connectionString,
      concurrency,
      // by default it would write two lines a job, which ours need not either
      logger: new graphile.Logger(() => () => undefined),
      taskList: { bench: async ({ sql }) => void (await runSql(sql)) },
      ...(style === 'defaults' ? {} : { preset: BATCHES }),
    })
  },
})
