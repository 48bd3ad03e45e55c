import { setTimeout as sleep } from 'node:timers/promises'
import type { Database } from '../engine/database/database.js'
import { type ConnectionTarget, describeTarget } from '../engine/database/target.js'
import { QueueError } from '../engine/errors.js'
import { Arena } from './arena.js'
import { type Audit, audit } from './audit.js'
import { faultsOf } from './faults/all.js'
import { Fleet } from './fleet.js'
import type { OwnServer } from './own-server.js'
import { counted } from './patience.js'
import { Random } from './random.js'
import { Chronicle } from './recovery.js'
import { judge, type TortureReport } from './report.js'
import { Storm, type Struck } from './storm.js'
import type { FaultKind, Scene } from './types.js'
import { Workload } from './workload.js'

export interface TortureOptions {
  server: ConnectionTarget
  /** where the server is ours to restart */
  own?: OwnServer | undefined
  kinds: readonly FaultKind[]
  seed: number
  rounds?: number | undefined
  durationMs?: number | undefined
  pauseMs: number
  tasksPerSecond: number
  /** called off: what was done is undone, and INTERRUPTED thrown */
  signal: AbortSignal
  onStage?(stage: string): void
  onStrike?(struck: Struck, round: number): void
  /** for tests: a queue broken on purpose, by its functions or by another worker program */
  prepare?: ((database: Database) => Promise<void>) | undefined
  command?: string[] | undefined
}

/** How long the queue may rest without an end of any task before what is left counts as stuck. */
const PATIENCE_MS = 40_000
const LOOK_EVERY_MS = 100

/**
 * Runs auditable work on a queue of its own, strikes it with faults, lets it come to rest, and looks at every effect.
 * Errors: INTERRUPTED, NOT_ALLOWED, HOST_NOT_READY, and those of Database.connect.
 */
export async function torture(options: TortureOptions): Promise<TortureReport> {
  const startedAt = performance.now()
  const random = new Random(options.seed)
  const arena = await Arena.open(options)
  const chronicle = new Chronicle()
  const fleet = new Fleet({ arena, command: options.command, onEvent: (event) => chronicle.add(event) })
  const stage = options.onStage ?? (() => undefined)
  try {
    stage('Starting supervisors')
    await fleet.start()
    const workload = new Workload(arena, new Random(options.seed + 1), options.tasksPerSecond)
    const scene: Scene = { arena, fleet, workload, random, signal: options.signal }
    const { storm, skipped } = await rage(scene, options)
    stage('Waiting until every task has ended')
    await restOf(scene)
    await fleet.gather()
    await fleet.stopAll()
    stage('Looking at every effect')
    const seen = await look(arena, storm.struck)
    return judge({
      seed: options.seed,
      server: describeTarget(options.server),
      durationMs: performance.now() - startedAt,
      struck: storm.struck,
      skipped,
      chronicle,
      audit: seen,
      surprises: [...fleet.surprises, ...storm.missed.filter((m) => m.includes('not undone'))],
    })
  } finally {
    await fleet.end()
    await arena.close()
  }
}

async function rage(scene: Scene, options: TortureOptions) {
  const faults = faultsOf(options.kinds)
  const reasons = faults.map((fault) => [fault.kind, fault.whyNot(scene)] as const)
  const skipped = new Map(reasons.filter((r): r is [FaultKind, string] => r[1] !== undefined))
  const storm = new Storm(scene, {
    faults: faults.filter(({ kind }) => !skipped.has(kind)),
    rounds: options.rounds,
    durationMs: options.durationMs,
    pauseMs: options.pauseMs,
    onStrike: options.onStrike ?? (() => undefined),
  })
  const flow = new AbortController()
  const flowing = scene.workload.flow(flow.signal)
  try {
    await storm.rage()
  } finally {
    flow.abort()
    await flowing
  }
  if (options.signal.aborted) {
    throw new QueueError('INTERRUPTED', 'The torture was stopped; nothing of it runs any more', {
      hint: `pgbq torture --seed ${options.seed}, which repeats it`,
    })
  }
  return { storm, skipped }
}

/** Until nothing waits or runs, or nothing ends any more. */
async function restOf({ arena, signal }: Scene): Promise<void> {
  let last = -1
  for (let leftMs = PATIENCE_MS; leftMs > 0 && !signal.aborted; await sleep(LOOK_EVERY_MS)) {
    const row = await arena.line.insist((database) =>
      database.one<{ open: number; closed: number }>(
        `select count(*) filter (where closed_at is null)::integer as open, count(closed_at)::integer as closed from pg_background_tasks`,
      ),
    )
    if (row.open === 0) return
    leftMs = row.closed === last ? leftMs - counted(LOOK_EVERY_MS) : PATIENCE_MS
    last = row.closed
  }
}

async function look(arena: Arena, struck: Struck[]): Promise<Audit> {
  const database = await arena.line.connect()
  try {
    return await audit(database, 'public', struck)
  } finally {
    await database.close()
  }
}
