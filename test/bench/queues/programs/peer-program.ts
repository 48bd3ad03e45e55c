import pg from 'pg'
import { applicationName } from '../../systems/programs/application-name.js'
import type { PeerOrder, PeerStyle } from '../peer-queue.js'
import type { Workload } from '../workload.js'

/** How a peer is installed, filled and worked, in a process of its own. */
export interface PeerProgram {
  install(url: string): Promise<void>
  fill(url: string, work: Workload): Promise<void>
  /** Resolves when the workers are ready. */
  work(url: string, slots: number, style: PeerStyle, runSql: (sql: string) => Promise<unknown>): Promise<void>
}

/** Does what the bench forked this process for. */
export async function main(program: PeerProgram): Promise<void> {
  const url = process.env.BENCH_URL ?? ''
  process.once('disconnect', () => process.exit(1))
  const order = await new Promise<PeerOrder>((resolve) =>
    process.once('message', (message) => resolve(message as PeerOrder)),
  )
  if (order.do === 'work') {
    const pool = new pg.Pool({
      connectionString: url,
      max: order.slots,
      application_name: applicationName(process.pid),
    })
    await program.work(url, order.slots, order.style, (sql) => pool.query(sql))
    process.send?.('ready')
    return
  }
  await (order.do === 'install' ? program.install(url) : program.fill(url, order.work))
  process.exit(0)
}
