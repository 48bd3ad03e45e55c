import { afterEach, describe, expect, test, vi } from 'vitest'
import { parseDuration, parseTime } from '../../src/engine/duration.js'
import { sayDuration } from '../../src/output/duration.js'

describe('a duration as typed', () => {
  test.each([
    ['500ms', 500],
    ['10s', 10_000],
    ['10', 10_000],
    ['0', 0],
    ['1.5m', 90_000],
    ['2h', 7_200_000],
    ['24d', 2_073_600_000],
    [' 5s ', 5000],
  ])('reads "%s" as %i ms', (text, ms) => {
    expect(parseDuration(text, '--timeout')).toBe(ms)
  })

  test.each(['', '-1', '-1s', '1 s', '1e3', '1w', 's', 'Infinity', 'NaN', '0x10', '1h30m'])(
    'refuses "%s" and gives examples',
    (text) => {
      expect(() => parseDuration(text, '--timeout')).toThrow(
        `Expected --timeout to be a duration such as 500ms, 10s, 5m, 2h or 1d, got "${text}"`,
      )
    },
  )

  test.each(['25d', '999999999999999999999', '600h'])('names the longest where "%s" is longer', (text) => {
    expect(() => parseDuration(text, '--timeout')).toThrow(
      `Expected --timeout to be at most 24d, got "${text}"`,
    )
  })

  test('takes a longer limit where nothing has to time it', () => {
    expect(parseDuration('30d', '--in', 36_500 * 86_400_000)).toBe(2_592_000_000)
  })
})

describe('a time as typed', () => {
  afterEach(() => void vi.unstubAllEnvs())

  test.each([
    ['2026-12-24T18:00', '2026-12-24T09:00:00.000Z'],
    ['2026-12-24 18:00:30', '2026-12-24T09:00:30.000Z'],
    ['2026-12-24', '2026-12-23T15:00:00.000Z'],
    ['2026-12-24T18:00Z', '2026-12-24T18:00:00.000Z'],
    ['2026-12-24T18:00:00.5+02:30', '2026-12-24T15:30:00.500Z'],
    ['2026-12-24T18:00+01', '2026-12-24T17:00:00.000Z'],
    ['2026-12-24T18:00-0430', '2026-12-24T22:30:00.000Z'],
    ['2028-02-29T00:00Z', '2028-02-29T00:00:00.000Z'],
  ])('reads "%s" in Tokyo as %s', (text, time) => {
    vi.stubEnv('TZ', 'Asia/Tokyo')
    expect(parseTime(text, '--run-at')).toBe(time)
  })

  test.each([
    '',
    'tomorrow',
    '2026-02-30T10:00',
    '2026-02-29',
    '2026-13-01',
    '2026-12-24T25:00',
    '2026-12-24T10:61',
    '24.12.2026',
    '2026-12-24T10:00 CET',
    '99999-01-01',
    '1766600000',
  ])('refuses "%s"', (text) => {
    expect(() => parseTime(text, '--run-at')).toThrow(/^Expected --run-at to be an ISO 8601 time such as /)
  })
})

test.each([
  [0, '0 ms'],
  [0.85, '850 ms'],
  [3.21, '3.2 s'],
  [240, '4 min'],
  [9000, '2.5 h'],
  [259_200, '3 d'],
])('says %d seconds as %s', (seconds, words) => {
  expect(sayDuration(seconds)).toBe(words)
})
