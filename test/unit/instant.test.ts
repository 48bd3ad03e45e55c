import { expect, test } from 'vitest'
import { isoInstant } from '../../src/engine/database/instant.js'

test.each([
  ['2026-01-02 03:04:05.678901+00', '2026-01-02T03:04:05.678901Z'],
  ['2026-01-02 03:04:05+00', '2026-01-02T03:04:05Z'],
  ['2026-01-02 03:04:05.6+09', '2026-01-01T18:04:05.6Z'],
  ['2025-12-31 23:30:00.000001-03:30', '2026-01-01T03:00:00.000001Z'],
  ['1890-01-01 00:53:28+00:53:28', '1890-01-01T00:00:00Z'],
  ['infinity', 'infinity'],
  ['-infinity', '-infinity'],
  ['0044-03-15 12:00:00+00 BC', '0044-03-15T12:00:00+00 BC'],
])('a timestamptz of any session, %s, is the instant %s in UTC', (text, instant) => {
  expect(isoInstant(text)).toBe(instant)
})
