import { afterEach, expect, test, vi } from 'vitest'
import { Database } from '../../src/engine/database/database.js'
import { reconnect } from '../../src/engine/supervisor/reconnect.js'
import { useDatabase } from '../support/database.js'

const empty = useDatabase({ isEmpty: true })
const queue = useDatabase()

afterEach(() => vi.restoreAllMocks())

/** A clock on which every look at it takes a while. */
function hurry(): () => number {
  let now = 0
  vi.spyOn(performance, 'now').mockImplementation(() => {
    now += 5000
    return now
  })
  return () => now
}

test('gives up a queue that is gone for a minute', async () => {
  const elapsed = hurry()
  await expect(reconnect(empty.target(), () => false)).rejects.toMatchObject({ code: 'NOT_INSTALLED' })
  expect(elapsed()).toBeGreaterThan(60_000)
})

test('ends without a connection once it would be pointless', async () => {
  let looks = 0
  expect(await reconnect(empty.target(), () => ++looks > 5)).toBeUndefined()
})

test('opens a session on a queue that is there', async () => {
  const control = await reconnect(queue.target(), () => false)
  expect(control!.database.lost).toBeUndefined()
  await control!.close()
})

test('gives a silent host 5 s at first, more each time, and never more than the target says', async () => {
  const limits: (number | undefined)[] = []
  const connect = vi.spyOn(Database, 'connect').mockImplementation(async (_, { connectTimeoutMs }) => {
    limits.push(connectTimeoutMs)
    throw new Error('timeout expired')
  })
  const tries = (count: number) => () => connect.mock.calls.length >= count
  await reconnect(queue.target(), tries(4))
  expect(limits.splice(0)).toEqual([5000, 10_000, 15_000, 15_000])
  connect.mockClear()
  await reconnect({ ...queue.target(), connectTimeoutMs: 7000 }, tries(2))
  expect(limits).toEqual([5000, 7000])
})
