import { psqlCommand } from '../shell-word.js'
import { inSchema, namedQuery } from '../sql-files.js'
import { count, type Finding, ok, type Patient, warning } from './check.js'

interface HorizonRow extends Record<string, unknown> {
  kind: 'session' | 'prepared' | 'slot' | 'standby'
  who: string
  role: string | null
  application_name: string | null
  state: string | null
  sec: number | null
  age: number | null
  task_id: bigint | null
}

/** What keeps dead rows from being removed, beyond a time, or a number of transactions where no time is known. */
export async function checkXmin(
  { database, schema }: Patient,
  { sec, age } = { sec: 600, age: 1_000_000 },
): Promise<Finding | Finding[]> {
  const rows = await database.query<HorizonRow>(inSchema(namedQuery('horizon'), schema))
  const held = rows.filter((row) => (row.sec === null ? (row.age ?? 0) >= age : row.sec >= sec))
  if (held.length > 0) return held.map((row) => warning(`${sayHolder(row)} holds xmin back`, release(row)))
  const { count: hidden } = await database.one<{ count: number }>(namedQuery('hidden_sessions'))
  const unseen =
    hidden === 0
      ? ''
      : `; ${count(hidden, 'session')} of other roles cannot be seen without pg_read_all_stats`
  return ok(`Nothing holds xmin back for ${Math.round(sec / 60)} min or longer${unseen}`)
}

function sayHolder({ kind, who, role, application_name, state, sec, age, task_id }: HorizonRow): string {
  const back = `${sec === null ? '' : ` since ${Math.round(sec)} s`}${age === null ? '' : `, ${age} transactions back`},`
  if (kind === 'slot') return `The replication slot "${who}"${back}`
  if (kind === 'prepared') return `The prepared transaction "${who}" of "${role}"${back}`
  if (kind === 'standby') return `The standby "${application_name}"${back}`
  const task = task_id === null ? '' : `, running task ${task_id}`
  return `Backend ${who} of "${role}" ("${application_name}", ${state}${task})${back}`
}

function release({ kind, who, task_id }: HorizonRow): string {
  if (task_id !== null) return `pgbq cancel ${task_id}`
  if (kind === 'prepared') return psqlCommand(`ROLLBACK PREPARED '${who.replaceAll("'", "''")}'`)
  if (kind === 'slot') return psqlCommand(`SELECT pg_drop_replication_slot('${who}')`)
  if (kind === 'standby') return psqlCommand(`SELECT * FROM pg_stat_replication WHERE pid = ${who}`)
  return psqlCommand(`SELECT pg_terminate_backend(${who})`)
}
