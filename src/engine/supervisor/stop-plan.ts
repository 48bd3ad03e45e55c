/** How often what is overdue is looked at. */
const LOOK_EVERY_MS = 200

/** Requests to stop: the first lets running tasks end for a time, the second does not. */
export class StopPlan {
  reason = ''
  isAnnounced = false
  /** why no connection may be of use any more */
  failure: Error | undefined
  private readonly timeoutMs: number
  private requests = 0
  private deadline = Number.POSITIVE_INFINITY

  constructor(timeoutMs: number) {
    this.timeoutMs = timeoutMs
  }

  request(reason: string): void {
    this.requests++
    if (this.requests === 1) {
      this.reason = reason
      this.deadline = performance.now() + this.timeoutMs
    } else {
      this.deadline = Math.min(this.deadline, performance.now())
    }
  }

  /** A first request that is to end with this error. */
  fail(failure: Error): void {
    if (this.failure) return
    this.failure = failure
    if (!this.isStopping) this.request(failure.message)
  }

  /** What the run has to end with; a stop that was asked for before stays clean. */
  get exitError(): Error | undefined {
    return this.failure?.message === this.reason ? this.failure : undefined
  }

  get isStopping(): boolean {
    return this.requests > 0
  }

  /** What runs is not waited for any more. */
  get isOverdue(): boolean {
    return performance.now() >= this.deadline
  }

  /** Nor is a worker that has no task and does not leave. */
  get isLongOverdue(): boolean {
    return performance.now() >= this.deadline + 1000
  }

  /** When to look again, on the clock of performance.now(). */
  get nextAt(): number {
    if (!this.isAnnounced) return 0
    const soon = performance.now() + LOOK_EVERY_MS
    return this.isOverdue ? soon : Math.min(this.deadline, soon)
  }
}
