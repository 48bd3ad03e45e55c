import { usageError } from './errors.js'

const UNITS_MS: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }

/** The longest that a timer and the server's timeouts can wait: 24 days. */
const LONGEST_MS = 24 * 86_400_000

/**
 * Milliseconds of `500ms`, `10s`, `5m`, `2h`, `1d`; a bare number is seconds. `longestMs`: whole days.
 * Errors: INVALID_DURATION.
 */
export function parseDuration(text: string, what: string, longestMs = LONGEST_MS): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)?$/.exec(text.trim())
  if (!match) {
    throw usageError(
      'INVALID_DURATION',
      `Expected ${what} to be a duration such as 500ms, 10s, 5m, 2h or 1d, got "${text}"`,
    )
  }
  const ms = Number(match[1]) * UNITS_MS[match[2] ?? 's']!
  if (ms > longestMs) {
    throw usageError(
      'INVALID_DURATION',
      `Expected ${what} to be at most ${longestMs / 86_400_000}d, got "${text}"`,
    )
  }
  return ms
}

const ISO_TIME = /^(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?)(Z|[+-]\d{2}(?::?\d{2})?)?)?$/i

/** An ISO 8601 time, without an offset in this process's zone, as ISO 8601 in UTC. Errors: INVALID_TIME. */
export function parseTime(text: string, what: string): string {
  const [, day, clock = '00:00', offset = ''] = ISO_TIME.exec(text.trim()) ?? []
  const time = new Date(`${day}T${clock}${fullOffset(offset)}`)
  // the 30th of February would become the 2nd of March
  const isOnCalendar = day !== undefined && new Date(`${day}T00:00Z`).getUTCDate() === Number(day.slice(8))
  if (!isOnCalendar || Number.isNaN(time.getTime())) {
    throw usageError(
      'INVALID_TIME',
      `Expected ${what} to be an ISO 8601 time such as 2026-12-24T18:00 or 2026-12-24T18:00+01:00, got "${text}"`,
    )
  }
  return time.toISOString()
}

/** +01 and +0100 as +01:00, which Date knows. */
function fullOffset(offset: string): string {
  const [, sign, hours, minutes = '00'] = /^([+-])(\d{2}):?(\d{2})?$/.exec(offset) ?? []
  return sign === undefined ? offset.toUpperCase() : `${sign}${hours}:${minutes}`
}
