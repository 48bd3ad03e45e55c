import { describe, expect, test } from 'vitest'
import { toCsv } from '../../src/output/csv.js'
import { nearest } from '../../src/output/nearest.js'
import { sayTime } from '../../src/output/time.js'

test('CSV quotes what needs it, and tells null from an empty text', () => {
  const row = { id: 9007199254740993n, topic: '', sql: 'select "a",\n1', at: null, ok: false, pad: ' x' }
  expect(toCsv(['id', 'topic', 'sql', 'at', 'ok', 'pad'], [row])).toBe(
    'id,topic,sql,at,ok,pad\n9007199254740993,"","select ""a"",\n1",,false," x"',
  )
  expect(toCsv(['id'], [])).toBe('id')
})

describe('an instant', () => {
  const now = '2026-12-24T18:00:00.000000Z'
  test.each([
    ['2026-12-24T17:59:30.5Z', '29.5 s ago'],
    ['2026-12-24T18:10:00Z', 'in 10 min'],
    ['2026-12-20T18:00:00Z', '4 d ago'],
    ['infinity', 'infinity'],
  ])('%s is %s where distances are asked for', (instant, said) => {
    expect(sayTime(instant, { style: 'relative', now })).toBe(said)
  })

  test('is shown in UTC to the second otherwise', () => {
    expect(sayTime('2026-12-24T17:59:30.512345Z')).toBe('2026-12-24 17:59:30')
  })
})

test.each([
  ['--tpic', ['--topic', '--time'], '--topic'],
  ['stauts', ['status', 'work'], 'status'],
  ['--stat', ['--state'], '--state'],
  ['wrok', ['work', 'why'], 'work'],
  ['wrok', ['work', 'why'], 'work'],
  ['--nonsense', ['--topic', '--state'], undefined],
  ['xyz', [], undefined],
  ['', ['--topic'], undefined],
])('for %j of %j the nearest is %s', (word, known, near) => {
  expect(nearest(word, known)).toBe(near)
})
