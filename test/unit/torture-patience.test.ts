import { expect, test } from 'vitest'
import { counted } from '../../src/torture/patience.js'

test.each([
  ['all of a wait on an idle machine', 0, 2, 1000],
  ['all of it while the torture alone fills the machine', 6, 2, 1000],
  ['a quarter where four times as many want each core', 24, 2, 250],
  ['all of it where the same many have cores enough', 24, 8, 1000],
])('counts %s', (_, load, cores, ms) => {
  expect(counted(1000, load, cores)).toBe(ms)
})
