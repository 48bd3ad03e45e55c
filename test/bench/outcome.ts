import type { LedgerRow, LedgerTask } from './ledger.js'
import type { Books, System } from './systems/system.js'

/** A worker process was killed at this task, at this instant of the server's clock. */
export interface Kill {
  n: number
  killedAt: string
}

/** Seconds from kills to the next starts of the killed tasks; null if there was none. */
export interface RecoverySeconds {
  count: number
  p50: number | null
  p95: number | null
  max: number | null
}

/** What became of the tasks, by the queue's own books and by the rows they left. */
export interface Outcome extends Pick<System, 'name' | 'version' | 'documented'> {
  tasks: number
  kills: number
  finished: number
  failed: number
  /** not finished at the end of the watch */
  stuck: number
  /** tasks without a row: their effect was lost */
  missing: number
  /** tasks with more than one row: their effect is there twice */
  twice: number
  /** killed tasks that were finished without a second start: the kill came too late to matter */
  unharmed: number
  recovery: RecoverySeconds
}

export function summarize(
  system: Pick<System, 'name' | 'version' | 'documented'>,
  tasks: LedgerTask[],
  kills: Kill[],
  ledger: LedgerRow[],
  books: Books,
): Outcome {
  const rows = new Map(tasks.map(({ n }) => [n, ledger.filter((row) => row.n === n)]))
  const recoveries = kills.map((kill) => recoverySeconds(kill, rows.get(kill.n) ?? []))
  const unfinished = new Set([...books.open, ...books.failed])
  const counts = [...rows.values()].map((of) => of.length)
  return {
    ...system,
    tasks: tasks.length,
    kills: kills.length,
    finished: tasks.length - unfinished.size,
    failed: books.failed.length,
    stuck: books.open.length,
    missing: counts.filter((count) => count === 0).length,
    twice: counts.filter((count) => count > 1).length,
    unharmed: kills.filter(({ n }, i) => recoveries[i] === undefined && !unfinished.has(n)).length,
    recovery: spread(recoveries.filter((seconds) => seconds !== undefined)),
  }
}

/** From the kill to the first start after it that left a row. */
function recoverySeconds({ killedAt }: Kill, rows: LedgerRow[]): number | undefined {
  const starts = rows.map((row) => (Date.parse(row.started) - Date.parse(killedAt)) / 1000)
  const later = starts.filter((seconds) => seconds > 0)
  return later.length === 0 ? undefined : Math.min(...later)
}

/** The smallest value that so many of all do not exceed. */
function spread(values: number[]): RecoverySeconds {
  const sorted = values.toSorted((a, b) => a - b)
  const at = (share: number): number | null => sorted[Math.ceil(share * sorted.length) - 1] ?? null
  return { count: sorted.length, p50: at(0.5), p95: at(0.95), max: at(1) }
}
