import type { Database } from '#pgbq/engine/database/database'

/** What a server has done since it began; null where this version does not tell. */
interface Counters {
  walBytes: number
  fsyncs: number | null
  deadRows: number
}

/** By the unit in which it is printed, for each task. */
export type CostPerTask = Record<'WAL bytes/task' | 'fsyncs/task' | 'dead rows/task', number | null>

const FSYNCS: [number, string][] = [
  [18, `select sum(fsyncs)::double precision as count from pg_stat_io where object = 'wal'`],
  [14, 'select wal_sync::double precision as count from pg_stat_wal'],
]

/** An update or delete leaves a dead row each, in the tables of everybody. */
const COUNTERS = `
  select (pg_current_wal_lsn() - '0/0')::double precision as "walBytes",
    (select sum(n_tup_upd + n_tup_del) from pg_stat_all_tables)::double precision as "deadRows"`

/** Looks twice: what lies between is the cost. Sessions tell at their end, so look when all have ended. */
export async function startCost(session: Database): Promise<(tasks: number) => Promise<CostPerTask>> {
  const before = await read(session)
  return async (tasks) => {
    const after = await read(session)
    return {
      'WAL bytes/task': (after.walBytes - before.walBytes) / tasks,
      'fsyncs/task':
        after.fsyncs === null || before.fsyncs === null ? null : (after.fsyncs - before.fsyncs) / tasks,
      'dead rows/task': (after.deadRows - before.deadRows) / tasks,
    }
  }
}

async function read(session: Database): Promise<Counters> {
  const { major } = await session.one<{ major: number }>(
    "select current_setting('server_version_num')::integer / 10000 as major",
  )
  const sql = FSYNCS.find(([from]) => major >= from)?.[1]
  const fsyncs = sql === undefined ? null : (await session.one<{ count: number }>(sql)).count
  return { ...(await session.one<Omit<Counters, 'fsyncs'> & Record<string, unknown>>(COUNTERS)), fsyncs }
}
