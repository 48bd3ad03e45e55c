import { usageError } from './errors.js'

const UNITS_MS: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }

/** Milliseconds of `500ms`, `10s`, `5m`, `2h`, `1d`; a bare number is seconds. Errors: INVALID_DURATION. */
export function parseDuration(text: string, what: string): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)?$/.exec(text.trim())
  const ms = match ? Number(match[1]) * UNITS_MS[match[2] ?? 's']! : Number.NaN
  if (!(ms <= 2_147_483_000)) {
    throw usageError(
      'INVALID_DURATION',
      `Expected ${what} to be a duration such as 500ms, 10s, 5m, 2h or 1d, got "${text}"`,
    )
  }
  return ms
}
