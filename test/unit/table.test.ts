import { describe, expect, test } from 'vitest'
import { plain, plainTopic } from '../../src/output/plain.js'
import { fit, oneLine, renderTable } from '../../src/output/table.js'
import { displayWidth } from '../../src/output/width.js'

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

test('keeps the columns of vowel signs, joiners and flags in line as terminals do', () => {
  const topics = ['مُحَمَّدٌ', 'ผู้ใหญ่', 'हिन्दी', '❤️', '🇩🇪', '\ue000', '漢字', 'ab']
  const lines = renderTable(
    ['topic', 'n'],
    topics.map((topic) => [topic, '1']),
  ).split('\n')
  expect(lines.map((line) => line.replace(/ *[1n]$/, ''))).toEqual(['topic', ...topics])
  expect(lines.slice(1).map((line) => displayWidth(line))).toEqual(topics.map(() => 8))
})

test('leaves out a cell that shows nothing', () => {
  expect(renderTable(['a', 'b'], [['\u200b', '1']])).toBe('a  b\n   1')
})

test.each([
  ['🇩🇪', 2],
  ['🎉', 2],
  ['שָׁ', 1],
  ['ผู้', 1],
  ['\u001b[31mab\u001b[39m', 2],
])('%s takes the places that wcwidth says', (text, width) => {
  expect(displayWidth(text)).toBe(width)
})

test('sets numbers to the right', () => {
  const rows = [
    ['a', '5', 'x'],
    ['b', '1234', 'y'],
  ]
  expect(renderTable(['t', 'n', 'l'], rows, { right: [1] })).toBe('t     n  l\na     5  x\nb  1234  y')
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
