/** So many notes within this time are a rush. */
const MANY = 100
const WINDOW_MS = 500
const RUSH_MS = 1000
const LOOK_EVERY_MS = 3
/** An enqueue that was told not to wake us may commit a moment after we have said that it shall. */
const LOOK_ON_MS = 100

/**
 * Enqueues so dense that their notifications make them wait for one another: a commit that notifies holds a lock of the
 * whole server until it is on disk, for notifications come in the order of commits
 * (https://www.postgresql.org/docs/current/sql-notify.html). Through a rush nobody is asked to notify, and idle workers
 * look every few milliseconds instead.
 */
export class Rush {
  private count = 0
  private countedFrom = Number.NEGATIVE_INFINITY
  private endsAt = Number.NEGATIVE_INFINITY
  private looksUntil = Number.NEGATIVE_INFINITY
  private lookedAt = Number.NEGATIVE_INFINITY

  /** Counts a notification; true: a rush begins with it. */
  note(): boolean {
    const now = performance.now()
    if (now - this.countedFrom > WINDOW_MS) {
      this.countedFrom = now
      this.count = 0
    }
    this.count++
    if (this.count < MANY) return false
    const begins = !this.isOn
    this.endsAt = now + RUSH_MS
    return begins
  }

  /** Enqueuers shall not notify. */
  get isOn(): boolean {
    return performance.now() < this.endsAt
  }

  /** Before enqueuers are told not to notify. */
  keepLooking(): void {
    this.looksUntil = Number.POSITIVE_INFINITY
  }

  /** After they were told to notify. */
  stopLooking(): void {
    this.looksUntil = Math.min(this.looksUntil, performance.now() + LOOK_ON_MS)
  }

  /** On the clock of performance.now(). */
  get nextLookAt(): number {
    return performance.now() < this.looksUntil ? this.lookedAt + LOOK_EVERY_MS : Number.POSITIVE_INFINITY
  }

  /** True once each time that a look is due. */
  takeLook(): boolean {
    const now = performance.now()
    if (now < this.nextLookAt) return false
    this.lookedAt = now
    return true
  }
}
