import { sayDuration } from './duration.js'

/** How times are shown: as instants in UTC, or by their distance from now on the server's clock. */
export type TimeStyle = { style: 'absolute' } | { style: 'relative'; now: string }

export const ABSOLUTE: TimeStyle = { style: 'absolute' }

/** An instant of ISO 8601: `2026-12-24 18:00:00`, or `3 min ago`, or `in 5 s`. */
export function sayTime(instant: string, times: TimeStyle = ABSOLUTE): string {
  const sec = times.style === 'relative' ? (Date.parse(times.now) - Date.parse(instant)) / 1000 : Number.NaN
  if (Number.isNaN(sec)) return instant.slice(0, 19).replace('T', ' ')
  return sec < 0 ? `in ${sayDuration(-sec)}` : `${sayDuration(sec)} ago`
}
