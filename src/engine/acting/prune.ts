import type { Database } from '../database/database.js'
import { inSchema, namedQuery } from '../sql-files.js'

const BATCH = 1000

/** Closed tasks to delete: the oldest ones up to this one. */
export interface PrunePlan {
  count: bigint
  bound: { closed_at: string; id: bigint } | undefined
}

/**
 * What would go: closed tasks older than `olderThanMs`, and those beyond the `keep` that ended last. Neither: what the
 * retention of the queue finds too old or too many.
 */
export async function planPrune(
  database: Database,
  schema: string,
  wanted: { olderThanMs?: number | undefined; keep?: number | undefined },
): Promise<PrunePlan> {
  const { olderThanMs, keep } = await limits(database, wanted)
  const bound = await database.one<{ closed_at: string | null; id: bigint | null }>(
    `select * from background_queue.prune_bound($1::double precision * interval '1 second', $2)`,
    [olderThanMs === undefined ? null : olderThanMs / 1000, keep ?? null],
  )
  if (bound.id === null) return { count: 0n, bound: undefined }
  const found = { closed_at: bound.closed_at!, id: bound.id }
  const { count } = await database.one<{ count: bigint }>(inSchema(namedQuery('prune_count'), schema), [
    found.closed_at,
    found.id,
  ])
  return { count, bound: found }
}

async function limits(
  database: Database,
  wanted: { olderThanMs?: number | undefined; keep?: number | undefined },
): Promise<{ olderThanMs?: number | undefined; keep?: number | undefined }> {
  if (wanted.olderThanMs !== undefined || wanted.keep !== undefined) return wanted
  const rows = await database.query<{ name: string; value: string }>(
    `select name, value from background_queue.effective_values() where lane = '' and name like 'retention%'`,
  )
  const value = (name: string): number => Number(rows.find((row) => row.name === name)?.value ?? 0)
  return {
    olderThanMs: value('retention_in_days') * 86_400_000 || undefined,
    keep: value('retention_max_tasks') || undefined,
  }
}

/** Deletes in small transactions; returns how many. What others hold is left. */
export async function prune(
  database: Database,
  { bound }: PrunePlan,
  onProgress: (count: number) => void,
): Promise<number> {
  let total = 0
  let after = { closed_at: '-infinity', id: 0n }
  while (bound) {
    const part = await database.one<{ pruned: number; closed_at: string | null; id: bigint | null }>(
      'select * from background_queue.prune_part($1, $2, $3, $4, $5)',
      [after.closed_at, after.id, bound.closed_at, bound.id, BATCH],
    )
    if (part.pruned === 0) break
    total += part.pruned
    after = { closed_at: part.closed_at!, id: part.id! }
    onProgress(total)
  }
  return total
}
