import { setTimeout as sleep } from 'node:timers/promises'
import { Random } from '#pgbq/torture/random'
import {
  countDone,
  createLedger,
  findRuns,
  type LedgerTask,
  makeTasks,
  type Run,
  readLedger,
} from './ledger.js'
import { type Kill, type Outcome, summarize } from './outcome.js'
import type { BenchDatabase } from './server.js'
import type { System } from './systems/system.js'

export interface ChildKillOptions {
  tasks: number
  kills: number
  workers: number
  /** how long the last kill is watched if something stays unfinished */
  watchMs: number
  seed: number
}

/** A system whose kills are done; its workers go on, and are watched until everything is finished or time is up. */
export interface KilledSystem {
  watch(): Promise<Outcome>
}

const LOOK_MS = 10
const BOOKS_MS = 200
/** A kill comes after the task's SQL was seen at work, and well before it would end. */
const LEAST_ELAPSED_MS = 5
const LEAST_LEFT_MS = 30
/** A queue in whose ledger nothing happens for so long has come to the end of what its workers will do. */
const STILL_MS = 20_000

/**
 * Runs the ledger's tasks and sends SIGKILL to worker processes, each at a task that was not hit before, spread at
 * random over the run. Resolves when only tasks that were hit are unfinished. The caller stops the system.
 */
export async function killChildren(
  system: System,
  database: BenchDatabase,
  options: ChildKillOptions,
): Promise<KilledSystem> {
  const tasks = makeTasks(options.tasks, options.seed)
  await createLedger(database.session)
  await system.setUp(database, tasks)
  await system.start(options.workers)
  const kills = await killAlong(system, database, options)
  const watchUntil = performance.now() + options.watchMs
  await settle(system, database, kills)
  return { watch: () => watch(system, database, { tasks, kills, watchUntil }) }
}

async function killAlong(
  system: System,
  { session }: BenchDatabase,
  { tasks, kills: count, seed }: ChildKillOptions,
): Promise<Kill[]> {
  const random = new Random(seed + 1)
  const kills: Kill[] = []
  while (kills.length < count) {
    const due = Math.floor((tasks * (kills.length + random.next())) / (count + 1))
    while ((await countDone(session)) < due) await sleep(LOOK_MS)
    kills.push(await killOne(system, { session }, kills, random))
  }
  return kills
}

async function killOne(
  system: System,
  { session }: Pick<BenchDatabase, 'session'>,
  before: Kill[],
  random: Random,
): Promise<Kill> {
  for (;;) {
    const runs = (await findRuns(session)).filter(
      (run) => isMidTask(run) && before.every((k) => k.n !== run.n),
    )
    const run = runs.length > 0 ? random.pick(runs) : undefined
    const pid = run && (await system.processOf(run))
    // looked at again, for the time that it took to find the process
    const again =
      pid && (await findRuns(session)).find((r) => r.n === run.n && r.backendPid === run.backendPid)
    if (pid && again && isMidTask(again)) {
      system.kill(pid)
      return { n: again.n, killedAt: again.seenAt }
    }
    if (await isOver(system)) throw new Error(`${system.name} had no task left to kill`)
    await sleep(LOOK_MS)
  }
}

const isMidTask = ({ elapsedMs, ms }: Run): boolean =>
  elapsedMs >= LEAST_ELAPSED_MS && ms - elapsedMs >= LEAST_LEFT_MS

const isOver = async (system: System): Promise<boolean> => (await system.books()).open.length === 0

/** Waits until the books hold no task open but those that were hit. */
async function settle(system: System, { session }: BenchDatabase, kills: Kill[]): Promise<void> {
  const hit = new Set(kills.map((kill) => kill.n))
  let [done, changedAt] = [0, performance.now()]
  while ((await system.books()).open.some((n) => !hit.has(n))) {
    const now = await countDone(session)
    if (now !== done) [done, changedAt] = [now, performance.now()]
    if (performance.now() - changedAt > STILL_MS) return
    await sleep(BOOKS_MS)
  }
}

async function watch(
  system: System,
  { session }: BenchDatabase,
  { tasks, kills, watchUntil }: { tasks: LedgerTask[]; kills: Kill[]; watchUntil: number },
): Promise<Outcome> {
  while (!(await isOver(system)) && performance.now() < watchUntil) await sleep(BOOKS_MS)
  const { name, version, documented } = system
  return summarize(
    { name, version, documented },
    tasks,
    kills,
    await readLedger(session),
    await system.books(),
  )
}
