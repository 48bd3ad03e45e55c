import type { QueueEvent } from '../events.js'

/** A tick comes once a second; a supervisor that was silent for 5 s is taken for frozen by others. */
const FRESH_MS = 10_000

/** What a probe is told. */
export interface HealthState {
  isUp: boolean
  /** why not */
  reason: string | null
  /** since the last tick; null: there was none */
  heartbeatAgeSec: number | null
}

/** Whether the supervisor has its connection, and its loop has just run. */
export class Health {
  private beatAt: number | undefined
  private trouble: string | undefined

  beat(): void {
    this.beatAt = performance.now()
    this.trouble = undefined
  }

  note(event: QueueEvent): void {
    if (event.event === 'database_lost') this.trouble = `database lost: ${event.reason}`
    else if (event.event === 'stopped') this.trouble = 'stopped'
  }

  get state(): HealthState {
    const ageMs = this.beatAt === undefined ? null : performance.now() - this.beatAt
    const reason = this.trouble ?? staleness(ageMs)
    return { isUp: reason === null, reason, heartbeatAgeSec: ageMs === null ? null : ageMs / 1000 }
  }
}

function staleness(ageMs: number | null): string | null {
  if (ageMs === null) return 'not connected to the database yet'
  return ageMs > FRESH_MS ? `no heartbeat for ${Math.floor(ageMs / 1000)} s` : null
}
