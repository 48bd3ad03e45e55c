import { expect, test } from 'vitest'
import { isWholeStatement } from '../../src/engine/whole-statement.js'

const LATE = 5000

test.each(['select 1', 'select 1;', 'select 1; select 2;', `insert into t values ('a;b')`, 'vacuum t'])(
  'takes "%s" as a whole statement',
  async (line) => {
    expect(await isWholeStatement(line, 1)).toBe(true)
  },
)

test.each([
  'create table t (',
  ');',
  '-- only a comment',
  ';',
  `select 'open`,
  'selec 1',
  'a int,',
  '/* open',
])('does not take "%s" as a whole statement', async (line) => {
  expect(await isWholeStatement(line, 1)).toBe(false)
})

test('takes a line unparsed only where its shape was accepted before', async () => {
  expect(await isWholeStatement(`update t set a = 1 where b = 'x'`, LATE)).toBe(true)
  expect(await isWholeStatement(`update t set a = 22 where b = 'it''s'`, LATE)).toBe(true)
  expect(await isWholeStatement(`update t set a = 1 where b = 'x`, LATE)).toBe(false)
  expect(await isWholeStatement(`update t set a = 1 where b = 'x''`, LATE)).toBe(false)
})

test('does not mistake what begins a comment or an escape for a known shape', async () => {
  expect(await isWholeStatement(`select 'a', 'b'`, LATE)).toBe(true)
  expect(await isWholeStatement(`select E'a\\', 'b'`, LATE)).toBe(false)
  expect(await isWholeStatement(`select $$a', 'b'`, LATE)).toBe(false)
})
