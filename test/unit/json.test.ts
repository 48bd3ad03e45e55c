import { expect, test } from 'vitest'
import { toJson } from '../../src/output/json.js'

test('prints a bigint with its exact digits, as a number', () => {
  expect(toJson({ id: 9007199254740993n }, 0)).toBe('{"id":9007199254740993}')
})

test('agrees with JSON.stringify on everything that it knows', () => {
  const value = {
    text: 'a "quoted" \n 🎉 \u0000',
    numbers: [0, -1.5, 1e21],
    nothing: null,
    flags: [true, false],
    empty: [{}, []],
    nested: { deep: [{ x: [1] }] },
  }
  expect(toJson(value)).toBe(JSON.stringify(value, null, 2))
  expect(toJson(value, 0)).toBe(JSON.stringify(value))
})

test('leaves out what is undefined in an object and says null for it in a list', () => {
  expect(toJson({ a: undefined, b: [undefined] }, 0)).toBe('{"b":[null]}')
})

test('prints a date as ISO 8601', () => {
  expect(toJson(new Date(0))).toBe('"1970-01-01T00:00:00.000Z"')
})
