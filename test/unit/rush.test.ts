import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { Rush } from '../../src/engine/supervisor/rush.js'

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['performance'] })
})
afterEach(() => {
  vi.useRealTimers()
})

/** Notes so many ms apart; how often a rush began. */
function notes(rush: Rush, count: number, apartMs: number): number {
  let begun = 0
  for (let i = 0; i < count; i++) {
    if (rush.note()) begun++
    vi.advanceTimersByTime(apartMs)
  }
  return begun
}

test.each([
  ['100 a second, for long', 500, 10],
  ['99 at once, and again and again', 99, 0],
])('takes notifications of %s for no rush', (_, count, apartMs) => {
  const rush = new Rush()
  for (let again = 0; again < 3; again++) {
    expect(notes(rush, count, apartMs)).toBe(0)
    vi.advanceTimersByTime(501)
  }
  expect(rush.isOn).toBe(false)
})

test('begins a rush once, and ends it a second after the last dense notifications', () => {
  const rush = new Rush()
  expect(notes(rush, 100, 2)).toBe(1)
  vi.advanceTimersByTime(990)
  expect(rush.isOn).toBe(true)
  vi.advanceTimersByTime(20)
  expect(rush.isOn).toBe(false)
  expect(notes(rush, 100, 4)).toBe(1)
})

test('looks every 3 ms from before enqueuers are silent until 100 ms after they notify again', () => {
  const rush = new Rush()
  expect(rush.nextLookAt).toBe(Number.POSITIVE_INFINITY)
  notes(rush, 100, 0)
  expect(rush.takeLook()).toBe(false)
  rush.keepLooking()
  expect(rush.takeLook()).toBe(true)
  expect(rush.takeLook()).toBe(false)
  expect(rush.nextLookAt).toBe(performance.now() + 3)
  // however late it is that enqueuers are told of the end
  vi.advanceTimersByTime(60_000)
  expect(rush.isOn).toBe(false)
  expect(rush.takeLook()).toBe(true)
  rush.stopLooking()
  vi.advanceTimersByTime(99)
  expect(rush.takeLook()).toBe(true)
  rush.stopLooking()
  vi.advanceTimersByTime(5)
  expect(rush.takeLook()).toBe(false)
})

test('does not look where nobody was told to be silent', () => {
  const rush = new Rush()
  rush.stopLooking()
  expect(rush.takeLook()).toBe(false)
})
