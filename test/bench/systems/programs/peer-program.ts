import { createRequire } from 'node:module'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import pg from 'pg'
import { type LedgerTask, taskSql } from '../../ledger.js'
import { applicationName } from './application-name.js'

/** How a queue is filled and worked, in a process of its own. */
export interface PeerProgram {
  fill(url: string, tasks: LedgerTask[]): Promise<void>
  /** Resolves when the worker is ready. */
  work(url: string, runTask: (task: LedgerTask) => Promise<void>): Promise<void>
}

/** A package from the folder that the bench installed the other queues into. */
export async function importPeer<T>(name: string): Promise<T> {
  const resolve = createRequire(join(process.env.BENCH_PACKAGES ?? '.', 'package.json')).resolve
  return (await import(pathToFileURL(resolve(name)).href)) as T
}

/** Does what the bench forked this process for, and ends with it. */
export async function main(program: PeerProgram): Promise<void> {
  const url = process.env.BENCH_URL ?? ''
  process.once('disconnect', () => process.exit(1))
  if (process.argv[2] === 'fill') {
    const tasks = await new Promise<LedgerTask[]>((resolve) =>
      process.once('message', (message) => resolve(message as LedgerTask[])),
    )
    await program.fill(url, tasks)
    process.exit(0)
  }
  const pool = new pg.Pool({ connectionString: url, application_name: applicationName(process.pid) })
  await program.work(url, async (task) => void (await pool.query(taskSql(task))))
  process.send?.('ready')
}
