import { expect, test } from 'vitest'
import { asText, functionCall, readRow, script, statement } from '../../src/engine/database/messages.js'

test('puts a statement into Parse, Bind and Execute, each with its length', () => {
  const bytes = statement('select 1')
  const types: string[] = []
  for (let at = 0; at < bytes.length; at += 1 + bytes.readInt32BE(at + 1))
    types.push(String.fromCharCode(bytes[at]!))
  expect(types).toEqual(['P', 'B', 'E'])
})

test('binds values as text', () => {
  const bytes = statement('select $1, $2', ['ä', null])
  const bind = bytes.subarray(1 + bytes.readInt32BE(1))
  expect(bind.toString('latin1', 0, 1)).toBe('B')
  expect(bind.subarray(5, 1 + bind.readInt32BE(1)).toString('hex')).toBe(
    ['00', '00', '0000', '0002', '00000002', 'c3a4', 'ffffffff', '0000'].join(''),
  )
})

test('counts bytes, not characters', () => {
  const bytes = script("select 'ä€'")
  expect(bytes.readInt32BE(1)).toBe(bytes.length - 1)
  expect(bytes.at(-1)).toBe(0)
})

test('calls a function by its OID with values as text', () => {
  const bytes = functionCall(4711, [['a"b', null], null, true])
  expect(bytes.toString('latin1', 0, 1)).toBe('F')
  expect(bytes.readInt32BE(1)).toBe(bytes.length - 1)
  expect(bytes.readInt32BE(5)).toBe(4711)
  expect(bytes.readInt16BE(11)).toBe(3)
  expect(bytes.toString('utf8', 17, 17 + bytes.readInt32BE(13))).toBe('{"a\\"b",NULL}')
  expect(bytes.readInt32BE(17 + bytes.readInt32BE(13))).toBe(-1)
})

test.each([
  [null, null],
  [12n, '12'],
  [true, 'true'],
  [[], '{}'],
  [[1n, 2.5, true, null], '{1,2.5,true,NULL}'],
  [['a,b', '{', '\\', '"', '', '\t'], '{"a,b","{","\\\\","\\"","","\t"}'],
])('writes %o as %j', (value, text) => {
  expect(asText(value)).toBe(text)
})

test.each([
  ['(1,b,t)', ['1', 'b', 't']],
  ['(,,)', [null, null, null]],
  ['("",a)', ['', 'a']],
  ['(a,)', ['a', null]],
  ['("a,b","c ""d""","e\\\\f")', ['a,b', 'c "d"', 'e\\f']],
  ['("""")', ['"']],
  ['("""","\\\\",x)', ['"', '\\', 'x']],
  ['("line\nbreak",(x)', ['line\nbreak', '(x']],
])('reads the row %j', (text, fields) => {
  expect(readRow(text)).toEqual(fields)
})
