import { describe, expect, test } from 'vitest'
import { plain, plainTopic } from '../../src/output/plain.js'
import { fit, oneLine, renderTable } from '../../src/output/table.js'

test('sets columns apart by blanks, without a frame or blanks at the end of a line', () => {
  expect(
    renderTable(
      ['id', 'state'],
      [
        ['1', 'pending'],
        ['22', ''],
      ],
    ),
  ).toBe('id  state\n1   pending\n22')
})

test('keeps the columns of wide characters in line', () => {
  const lines = renderTable(
    ['topic', 'n'],
    [
      ['🎉漢', '1'],
      ['abcd', '2'],
    ],
  ).split('\n')
  expect(lines).toEqual(['topic  n', '🎉漢   1', 'abcd   2'])
})

describe('a terminal that is narrower than the table', () => {
  test('shortens the widest flexible column until a line fits', () => {
    const [row] = fit(['id', 'topic', 'sql'], [['12', 'x'.repeat(30), 'y'.repeat(60)]], [1, 2], 60)
    expect(row!.join('  ')).toHaveLength(60)
    expect(row).toEqual(['12', `${'x'.repeat(26)}…`, `${'y'.repeat(26)}…`])
  })

  test('never takes more than it has to', () => {
    const rows = [['1', 'x'.repeat(30)]]
    expect(fit(['id', 'topic'], rows, [1], 34)).toEqual(rows)
    expect(fit(['id', 'topic'], rows, [1], undefined)).toEqual(rows)
  })

  test('leaves 8 places of a flexible column, however narrow it is', () => {
    expect(fit(['id', 'topic'], [['1', 'x'.repeat(30)]], [1], 3)).toEqual([['1', 'xxxxxxx…']])
  })
})

describe('one line for a cell', () => {
  test.each([
    ['select 1\n  from t', 60, 'select 1 from t'],
    ['abcdef', 4, 'abc…'],
    ['🎉🎉🎉', 4, '🎉…'],
    [null, 4, ''],
    ['a\u001b[2J', 20, 'a\\u001b[2J'],
  ])('makes of %j within %i places %j', (text, width, line) => {
    expect(oneLine(text, width)).toBe(line)
  })
})

test('shows control characters and turns of direction as escapes, and keeps line ends', () => {
  expect(plain('a\u001b[31m\u0007\u009b\u202eb\tc\r\nd')).toBe('a\\u001b[31m\\u0007\\u009b\\u202eb\tc\nd')
})

test.each([
  ['mail', 'mail'],
  [`it's "odd"`, `it's "odd"`],
  [' ', '" "'],
  ['a\nb', '"a\\nb"'],
  ['"a"', '"\\"a\\""'],
  ['(no topic)', '"(no topic)"'],
])('shows the topic %j as %s', (topic, shown) => {
  expect(plainTopic(topic)).toBe(shown)
})
