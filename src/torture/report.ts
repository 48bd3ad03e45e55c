import type { Audit, TaskCounts } from './audit.js'
import type { Chronicle, Recovery } from './recovery.js'
import type { Struck } from './storm.js'
import type { FaultKind } from './types.js'

/** One kind of fault: how often it struck, and what became of the tasks enqueued after it. */
export interface FaultReport {
  fault: FaultKind | 'calm'
  injected: number
  /** why it could not be done here, null if it could */
  skipped: string | null
  tasks: number
  lost: number
  duplicated: number
  overlapping: number
  stuck: number
  over_limit: number
  early: number
  failed_wrongly: number
  recovery: Recovery
}

export interface TortureReport {
  ok: boolean
  seed: number
  server: string
  duration_sec: number
  injected: number
  faults: FaultReport[]
  tasks: {
    enqueued: number
    finished: number
    /** finished in one transaction with others */
    in_shared_commits: number
    failed_by_max_worker_deaths: number
    failed_by_fault: number
  }
  /** most tasks at once as they themselves saw it; '' is the whole queue */
  most_at_once: Record<string, number>
  foreign_effects: number
  missing_money: number
  /** each broken promise in words; empty if all were kept */
  broken: string[]
}

export interface Evidence {
  seed: number
  server: string
  durationMs: number
  struck: Struck[]
  skipped: Map<FaultKind, string>
  chronicle: Chronicle
  audit: Audit
  surprises: string[]
}

/** Weighs what was seen. */
export function judge(evidence: Evidence): TortureReport {
  const { audit, struck, skipped } = evidence
  const kinds = new Set<FaultKind | 'calm'>([
    ...audit.counts.map((c) => c.fault as FaultKind),
    ...struck.map((s) => s.kind),
    ...skipped.keys(),
  ])
  const faults = [...kinds].map((kind) => reportOf(kind, evidence))
  const broken = [...faults.flatMap(brokenBy), ...brokenByAll(evidence)]
  const sum = (key: keyof TaskCounts): number =>
    audit.counts.reduce((total, row) => total + Number(row[key]), 0)
  return {
    ok: broken.length === 0,
    seed: evidence.seed,
    server: evidence.server,
    duration_sec: Math.round(evidence.durationMs / 100) / 10,
    injected: struck.length,
    faults,
    tasks: {
      enqueued: sum('tasks'),
      finished: sum('finished'),
      in_shared_commits: audit.shared,
      failed_by_max_worker_deaths: sum('killers'),
      failed_by_fault: sum('excused'),
    },
    most_at_once: audit.most,
    foreign_effects: audit.foreign,
    missing_money: audit.missingMoney,
    broken,
  }
}

function reportOf(kind: FaultKind | 'calm', { audit, struck, skipped, chronicle }: Evidence): FaultReport {
  const counts = audit.counts.find((row) => row.fault === kind)
  return {
    fault: kind,
    injected: struck.filter((s) => s.kind === kind).length,
    skipped: skipped.get(kind as FaultKind) ?? null,
    tasks: counts?.tasks ?? 0,
    lost: counts?.lost ?? 0,
    duplicated: counts?.duplicated ?? 0,
    overlapping: counts?.overlapping ?? 0,
    stuck: counts?.stuck ?? 0,
    over_limit: counts?.over_limit ?? 0,
    early: counts?.early ?? 0,
    failed_wrongly: counts?.wrong ?? 0,
    recovery: chronicle.recovery(struck, kind as FaultKind),
  }
}

const PROMISES = {
  lost: 'lost',
  duplicated: 'with an effect too many',
  overlapping: 'run twice at the same time',
  stuck: 'stuck',
  over_limit: 'begun above a limit',
  early: 'begun before a delay was over',
  failed_wrongly: 'ended other than their SQL deserved',
} as const

function brokenBy(report: FaultReport): string[] {
  return (Object.keys(PROMISES) as (keyof typeof PROMISES)[])
    .filter((key) => report[key] > 0)
    .map((key) => `${report[key]} of ${report.tasks} tasks after ${report.fault}: ${PROMISES[key]}`)
}

function brokenByAll({ audit, surprises }: Evidence): string[] {
  return [
    ...(audit.foreign > 0 ? [`${audit.foreign} effects under a role that did not enqueue the task`] : []),
    ...(audit.missingMoney !== 0 ? [`the accounts hold ${audit.missingMoney} less than they should`] : []),
    ...audit.examples,
    ...surprises,
  ]
}
