import { expect, test } from 'vitest'
import { GroupPace } from '../../src/engine/worker/group-pace.js'

test('lets follow as many as are likely to be over in 40 ms, few while nothing is known', () => {
  const pace = new GroupPace()
  expect(pace.room('a')).toBe(20)
  pace.note('a', 0.5)
  expect(pace.room('a')).toBe(80)
  pace.note('a', 26)
  expect(pace.room('a')).toBe(4)
})

test('has none follow where tasks take long, and comes back when they are short again', () => {
  const pace = new GroupPace()
  pace.note('a', 1000)
  expect(pace.room('a')).toBe(0)
  for (let n = 0; n < 20; n++) pace.note('a', 0.5)
  expect(pace.room('a')).toBeGreaterThan(10)
})

test('knows nothing of another topic, and of no topic as of any', () => {
  const pace = new GroupPace()
  pace.note('a', 1000)
  expect(pace.room(null)).toBe(20)
  pace.note(null, 5)
  expect(pace.room(null)).toBe(8)
  expect(pace.room('a')).toBe(20)
})

test('remembers topics whose tasks say something, but not without end', () => {
  const pace = new GroupPace()
  expect(pace.isHeard('a')).toBe(false)
  pace.hear('a')
  expect([pace.isHeard('a'), pace.isHeard(null)]).toEqual([true, false])
  for (let n = 0; n < 100; n++) pace.hear(`topic ${n}`)
  expect([pace.isHeard('a'), pace.isHeard('topic 99')]).toEqual([false, true])
})
