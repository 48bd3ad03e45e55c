import { psqlCommand } from '../shell-word.js'
import { inSchema, namedQuery } from '../sql-files.js'
import { count, type Finding, ok, type Patient, problem, warning } from './check.js'
import type { ServerRow } from './server.js'

const DEAD_ROWS = 10_000
const DEAD_SHARE = 0.4
const BLOAT_BYTES = 64 * 1024 * 1024

/** Rows that deletes and updates left, beyond what autovacuum should have removed. */
export async function checkDeadRows({ database, schema }: Patient): Promise<Finding | Finding[]> {
  const rows = await database.query<{ relation: string; dead: bigint; live: bigint; is_off: boolean }>(
    inSchema(namedQuery('dead_rows'), schema),
  )
  const { autovacuum } = await database.one<ServerRow>(namedQuery('server'))
  const findings = rows
    .filter(({ dead, live }) => dead > DEAD_ROWS && Number(dead) > DEAD_SHARE * Number(live))
    .map(({ relation, dead, live }) =>
      warning(
        `${relation} has ${dead} dead rows beside ${live} live ones`,
        psqlCommand(`VACUUM (ANALYZE) ${relation}`),
      ),
    )
  if (!autovacuum) findings.push(warning('autovacuum is off', psqlCommand('ALTER SYSTEM RESET autovacuum')))
  for (const { relation } of rows.filter((row) => row.is_off))
    findings.push(
      warning(
        `autovacuum is off for ${relation}`,
        psqlCommand(`ALTER TABLE ${relation} RESET (autovacuum_enabled)`),
      ),
    )
  const dead = rows.reduce((sum, row) => sum + row.dead, 0n)
  return findings.length > 0 ? findings : ok(`${count(dead, 'dead row')} in the queue's tables`)
}

/** Tables and indexes that are much larger than what is in them. */
export async function checkBloat(
  { database, schema }: Patient,
  bytes = BLOAT_BYTES,
): Promise<Finding | Finding[]> {
  const rows = await database.query<{ relation: string; is_index: boolean; bytes: bigint; needed: bigint }>(
    inSchema(namedQuery('bloat'), schema),
    [bytes],
  )
  if (rows.length === 0) return ok("The queue's tables and indexes are about as large as their rows need")
  return rows.map(({ relation, is_index, bytes: size, needed }) =>
    warning(
      `${relation} takes ${megabytes(size)}, its rows need about ${megabytes(needed)}`,
      psqlCommand(is_index ? `REINDEX INDEX CONCURRENTLY ${relation}` : `VACUUM (FULL, ANALYZE) ${relation}`),
    ),
  )
}

const megabytes = (bytes: bigint): string => `${Math.ceil(Number(bytes) / 1024 / 1024)} MB`

/** Indexes that an interrupted CREATE INDEX CONCURRENTLY or REINDEX left, in the whole database. */
export async function checkIndexes({ database, schema }: Patient): Promise<Finding | Finding[]> {
  const rows = await database.query<{ index: string; relation: string; is_ours: boolean; is_busy: boolean }>(
    inSchema(namedQuery('invalid_indexes'), schema),
  )
  const left = rows.filter((row) => !row.is_busy)
  if (left.length === 0) {
    return ok(
      rows.length === 0 ? 'No index is invalid' : `${count(rows.length, 'index')} being built, as it seems`,
    )
  }
  return left.map(({ index, relation, is_ours }) =>
    is_ours
      ? problem(`The queue's index ${index} is invalid`, psqlCommand(`REINDEX INDEX CONCURRENTLY ${index}`))
      : warning(
          `The index ${index} of ${relation} is invalid, left by a build that did not end`,
          psqlCommand(`DROP INDEX CONCURRENTLY ${index}`),
        ),
  )
}

interface RetentionRow extends Record<string, unknown> {
  days: number
  keep: bigint
  oldest_days: number | null
  is_over: boolean
}

/** Whether closed tasks go when they should: a supervisor deletes them once a minute. */
export async function checkRetention({ database, schema }: Patient): Promise<Finding> {
  const { days, keep, oldest_days, is_over } = await database.one<RetentionRow>(
    inSchema(namedQuery('retention'), schema),
  )
  const oldest =
    oldest_days === null
      ? 'No task is closed'
      : `The oldest closed task is ${oldest_days.toFixed(1)} days old`
  if (is_over)
    return warning(
      `Many more than ${keep} closed tasks are kept, the limit of retention_max_tasks`,
      'pgbq prune',
    )
  if (days > 0 && (oldest_days ?? 0) > days + 1 / 24)
    return warning(`${oldest}, they are to go after ${days}`, 'pgbq prune')
  return ok(`${oldest}; ${days > 0 ? `they go after ${days} days` : 'they stay for ever'}`)
}
