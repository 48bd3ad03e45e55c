import type { Look } from './look.js'

export const HISTORY_SEC = 60
/** How far back each look reads: an end is seen once it is committed, a little after its closed_at. */
export const OVERLAP_SEC = 5

/** Ends by second of the server's clock, of the last minute. */
export interface Ends {
  /** oldest first, the second that goes on left out */
  finished: number[]
  failed: number[]
}

/** What ended in the last minute, by topic, kept from looks that each see only the last seconds. */
export class History {
  private readonly byTopic = new Map<string, Map<number, { finished: number; failed: number }>>()

  /** A later look at the same second sees as much or more; one that was cut short, less. */
  add({ closings, now }: Look): void {
    for (const { second, topic, state, count } of closings) {
      if (state === 'cancelled') continue
      const seconds = this.byTopic.get(keyOf(topic)) ?? new Map()
      const ends = seconds.get(second) ?? { finished: 0, failed: 0 }
      ends[state as 'finished' | 'failed'] = Math.max(ends[state as 'finished' | 'failed'], count)
      this.byTopic.set(keyOf(topic), seconds.set(second, ends))
    }
    this.forget(Math.floor(now) - HISTORY_SEC - 1)
  }

  private forget(before: number): void {
    for (const [topic, seconds] of this.byTopic) {
      for (const second of seconds.keys()) if (second < before) seconds.delete(second)
      if (seconds.size === 0) this.byTopic.delete(topic)
    }
  }

  /** Topics in which something ended. */
  topics(): (string | null)[] {
    return [...this.byTopic.keys()].map((key) => (key === '' ? null : key))
  }

  /** Of one topic, or of all. */
  ends(now: number, topic?: string | null): Ends {
    const chosen =
      topic === undefined ? [...this.byTopic.values()] : [this.byTopic.get(keyOf(topic)) ?? new Map()]
    const last = Math.floor(now) - 1
    const seconds = Array.from({ length: HISTORY_SEC }, (_, i) => last - HISTORY_SEC + 1 + i)
    const line = (kind: 'finished' | 'failed') =>
      seconds.map((second) => chosen.reduce((sum, ends) => sum + (ends.get(second)?.[kind] ?? 0), 0))
    return { finished: line('finished'), failed: line('failed') }
  }
}

/** '' is no topic: the table refuses it as one. */
const keyOf = (topic: string | null): string => topic ?? ''
