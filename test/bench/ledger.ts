import type { Database } from '#pgbq/engine/database/database'
import { Random } from '#pgbq/torture/random'

/** A task of the workload: its number, and how long it works before it writes its row. */
export interface LedgerTask {
  n: number
  ms: number
}

/** A task that a backend is at. Instants are the server's, in ISO 8601. */
export interface Run extends LedgerTask {
  backendPid: number
  applicationName: string
  elapsedMs: number
  /** when this was looked up */
  seenAt: string
}

const SHORTEST_MS = 50
const LONGEST_MS = 300

/** No key on n: a task that ran twice has two rows. */
const LEDGER = `
  create table ledger (
    n integer not null, backend_pid integer not null, started timestamptz not null, ended timestamptz not null);
  create function ledger_task(p_n integer, p_ms integer) returns void language plpgsql as $$
  declare
    v_started timestamptz := clock_timestamp();
  begin
    perform pg_sleep(p_ms / 1000.0);
    insert into ledger values (p_n, pg_backend_pid(), v_started, clock_timestamp());
  end $$`

const RUNS = `
  select t.call[1]::integer as n, t.call[2]::integer as ms, a.pid as "backendPid",
    a.application_name as "applicationName", clock_timestamp() as "seenAt",
    (extract(epoch from clock_timestamp() - a.query_start) * 1000)::double precision as "elapsedMs"
  from pg_stat_activity a, regexp_match(a.query, '^select ledger_task\\((\\d+), (\\d+)\\)') t(call)
  where a.datname = current_database() and a.state = 'active' and t.call is not null`

export async function createLedger(session: Database): Promise<void> {
  await session.query(LEDGER)
}

/** The same tasks for the same seed, numbered from 1. */
export function makeTasks(count: number, seed: number): LedgerTask[] {
  const random = new Random(seed)
  return Array.from({ length: count }, (_, i) => ({
    n: i + 1,
    ms: random.integer(SHORTEST_MS, LONGEST_MS),
  }))
}

/** What every system runs for a task; nothing is bound, so that pg_stat_activity shows which task it is. */
export const taskSql = ({ n, ms }: LedgerTask): string => `select ledger_task(${n}, ${ms})`

/** The tasks whose SQL is being run. */
export const findRuns = (session: Database): Promise<Run[]> =>
  session.query<Run & Record<string, unknown>>(RUNS)

export interface LedgerRow extends Record<string, unknown> {
  n: number
  started: string
  ended: string
}

/** Every row that was committed, oldest first. */
export const readLedger = (session: Database): Promise<LedgerRow[]> =>
  session.query<LedgerRow>('select n, started, ended from ledger order by started')

/** How many tasks have a row. */
export async function countDone(session: Database): Promise<number> {
  return (await session.one<{ done: number }>('select count(distinct n)::integer as done from ledger')).done
}
