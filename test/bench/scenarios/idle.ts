import { setTimeout as sleep } from 'node:timers/promises'
import { PgbqQueue } from '../queues/pgbq-queue.js'
import type { BenchServer } from '../server.js'
import { canReadUsage, childrenOf, cpuSeconds } from '../speed/process-usage.js'
import type { Scenario } from './scenario.js'

const SECONDS = 300
const AMONG_ALL = 60
/** A backend that is idle tells of its last transactions after 10 s. */
const QUIET_MS = 12_000

export const idle: Scenario = {
  name: 'idle',
  about: 'what a supervisor with nothing to do asks of the server and the machine',
  async run(bench) {
    const { server, options, figures } = bench
    const seconds = bench.scaled(SECONDS, 2, AMONG_ALL)
    const title = `${seconds} s without a task`
    const database = await server.createDatabase()
    const queue = new PgbqQueue()
    try {
      await queue.install(database)
      const { name } = await database.session.one<{ name: string }>('select current_database() as name')
      await setAutovacuum(server, 'off')
      await queue.start(options.slots)
      await sleep(Math.min(QUIET_MS, seconds * 1000))
      const before = await look(server, name, queue.pid()!)
      await sleep(seconds * 1000)
      const after = await look(server, name, queue.pid()!)
      const add = (what: string, value: number, atMost: number): void => {
        figures.add(0, { case: title, who: 'pgbq', what }, value)
        figures.bar({ case: title, who: 'pgbq', what, atMost })
      }
      add('transactions/s', (after.transactions - before.transactions) / seconds, 1)
      if (canReadUsage) add('% of a core', ((after.cpu - before.cpu) / seconds) * 100, 0.5)
    } finally {
      await queue.stop()
      await setAutovacuum(server, 'default')
      await database.drop()
    }
  },
}

/** Its transactions would be counted too. A server that is given may refuse, and then they are. */
async function setAutovacuum(server: BenchServer, value: 'off' | 'default'): Promise<void> {
  await server.admin
    .query(`alter system set autovacuum = ${value}`)
    .then(() => server.admin.query('select pg_reload_conf()'))
    .catch(() => undefined)
}

/** Asked from another database, so that the look is not counted. All queries of an idle queue are transactions. */
async function look(
  server: BenchServer,
  name: string,
  pid: number,
): Promise<{ transactions: number; cpu: number }> {
  const { transactions } = await server.admin.one<{ transactions: number }>(
    `select (xact_commit + xact_rollback)::double precision as transactions from pg_stat_database
     where datname = $1`,
    [name],
  )
  const pids = canReadUsage ? [pid, ...childrenOf(pid)] : []
  return { transactions, cpu: pids.map(cpuSeconds).reduce((sum, of) => sum + of, 0) }
}
