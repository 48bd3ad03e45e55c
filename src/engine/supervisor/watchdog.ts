import type { WorkerProcess } from './worker-process.js'

const EVERY_MS = 1000
/** So many calls without an answer end a worker's process. */
const MOST_UNANSWERED = 5
/** One that has nothing to do is called each third time: all the calls together were half of what idling costs. */
const IDLE_EVERY = 3
const MOST_UNANSWERED_IDLE = 2
/** A process that has never said anything is still loading its program, maybe on a machine that is very busy. */
const MOST_UNANSWERED_AT_START = 30
/** Called so much too late, we were stopped or starved ourselves, and what the others did meanwhile proves nothing. */
const LATE_MS = EVERY_MS

/**
 * Calls every worker's process that has work once a second, and ends the one that does not answer: it is stopped
 * (SIGSTOP, a frozen container) or hangs, and would hold its task and its slot for ever. It has a clock of its own, for
 * the loop of the supervisor may wait for the server. Calls are counted, not time: while we do not run, nobody is called.
 */
export class Watchdog {
  private readonly workers: Iterable<WorkerProcess>
  private readonly onLate: () => void
  private timer: NodeJS.Timeout | undefined
  private lookedAt = performance.now()
  private looks = 0

  /** onLate: we have just come back from a stop. */
  constructor(workers: Iterable<WorkerProcess>, onLate: () => void) {
    this.workers = workers
    this.onLate = onLate
  }

  start(): void {
    this.lookedAt = performance.now()
    this.timer = setInterval(() => this.look(), EVERY_MS)
    this.timer.unref()
  }

  stop(): void {
    clearInterval(this.timer)
  }

  /** Whether we have been stopped until just now: what is found now may have happened at any time. */
  get isLate(): boolean {
    return performance.now() - this.lookedAt > EVERY_MS + LATE_MS
  }

  private look(): void {
    const { isLate } = this
    this.lookedAt = performance.now()
    if (isLate) this.onLate()
    this.looks++
    for (const worker of this.workers) {
      if (isLate) worker.unanswered = 0
      const isIdle = worker.state === 'idle'
      if (isIdle && this.looks % IDLE_EVERY !== 0) continue
      const everyMs = isIdle ? EVERY_MS * IDLE_EVERY : EVERY_MS
      if (worker.unanswered >= mostUnanswered(worker))
        worker.killUnresponsive((worker.unanswered * everyMs) / 1000)
      else worker.call()
    }
  }
}

function mostUnanswered({ state, hasSpoken }: WorkerProcess): number {
  if (!hasSpoken) return MOST_UNANSWERED_AT_START
  return state === 'idle' ? MOST_UNANSWERED_IDLE : MOST_UNANSWERED
}
