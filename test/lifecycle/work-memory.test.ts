import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { waitFor } from '../support/wait.js'
import { stop, useQueue, workerPids } from './work-support.js'

const queue = useQueue()

test("a SELECT of 5 million rows keeps the worker's memory flat", async (ctx) => {
  if (process.platform !== 'linux') ctx.skip('reads /proc, which only Linux has')
  const work = await queue.work(['--concurrency', '1'])
  const [pid] = workerPids(work)
  const rss = () => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) / 1024
  await queue.reaches(await queue.enqueue('select 1'), 'finished')
  const before = rss()
  const id = await queue.enqueue('select n, repeat(md5(n::text), 3) from generate_series(1, 5000000) n')
  let most = before
  const task = await waitFor(
    'the task to finish',
    async () => {
      most = Math.max(most, rss())
      const row = await queue.task(id)
      return row.state === 'finished' && row
    },
    60_000,
  )
  process.stdout.write(`RSS ${before.toFixed(0)} MB before, at most ${most.toFixed(0)} MB\n`)
  expect(task.rows_affected).toBe(5_000_000n)
  expect(most - before).toBeLessThan(60)
  expect(await stop(work)).toBe(0)
}, 90_000)
