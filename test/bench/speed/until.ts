import { setTimeout as sleep } from 'node:timers/promises'

const STILL_MS = 60_000
const LOOK_MS = 50
/** Looking is to cost at most this share of the time. */
const LOOK_SHARE = 0.02

/**
 * Waits until `look` reaches `goal`. `onProgress` sees each value. Errors: nothing has changed for a minute; `look`'s.
 */
export async function until(
  what: string,
  goal: number,
  look: () => Promise<number>,
  onProgress?: (value: number) => Promise<void>,
): Promise<void> {
  let [last, changedAt] = [Number.NaN, performance.now()]
  for (;;) {
    const lookedAt = performance.now()
    const value = await look()
    await onProgress?.(value)
    if (value === goal) return
    const now = performance.now()
    if (value !== last) [last, changedAt] = [value, now]
    if (now - changedAt > STILL_MS) throw new Error(`${what} stayed at ${value}, ${goal} were expected`)
    await sleep(Math.max(LOOK_MS, (now - lookedAt) / LOOK_SHARE))
  }
}
