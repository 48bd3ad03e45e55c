import type { HostEvent } from './host.js'
import type { Struck } from './storm.js'
import type { FaultKind } from './types.js'

/** Seconds from a fault to the next start of what it had broken. */
export interface Recovery {
  count: number
  p50_sec: number | null
  p95_sec: number | null
  max_sec: number | null
}

/** When each task was claimed, as the supervisors told of it. */
export class Chronicle {
  private readonly claims = new Map<string, number[]>()

  add(event: HostEvent): void {
    if (event.event !== 'claimed') return
    const id = String(event.task_id)
    const times = this.claims.get(id) ?? []
    times.push(Date.parse(event.time))
    this.claims.set(id, times)
  }

  /** Of all faults of a kind. A task that had ended just before the fault does not start again and is not counted. */
  recovery(struck: Struck[], kind: FaultKind): Recovery {
    const seconds = struck
      .filter((fault) => fault.kind === kind)
      .flatMap(({ victims, at }) => victims.map((id) => this.nextStart(id, at)))
      .filter((sec) => sec !== undefined)
      .sort((a, b) => a - b)
    const at = (share: number): number | null =>
      seconds.length === 0 ? null : seconds[Math.min(seconds.length - 1, Math.floor(share * seconds.length))]!
    return { count: seconds.length, p50_sec: at(0.5), p95_sec: at(0.95), max_sec: at(1) }
  }

  private nextStart(id: bigint, at: number): number | undefined {
    const next = this.claims.get(String(id))?.filter((time) => time >= at)
    return next && next.length > 0 ? (Math.min(...next) - at) / 1000 : undefined
  }
}
