import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { waitFor } from '../support/wait.js'
import { stop, useQueue, workerPids } from './work-support.js'

const queue = useQueue()

test.each([
  ['10 million rows', 'select n from generate_series(1, 10000000) n', 10_000_000n, 60],
  // more than a string of Node's can hold; what is measured is its socket's garbage
  ['one value of 600 MB', "select repeat('x', 600000000)", 1n, 120],
])(
  "a SELECT of %s does not grow the worker's memory with it",
  async (_, sql, rows, mostMb) => {
    const work = await queue.work(['--concurrency', '1'])
    const [pid] = workerPids(work)
    const isMeasured = process.platform === 'linux'
    const rss = () =>
      isMeasured
        ? Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) / 1024
        : Number.NaN
    await queue.reaches(await queue.enqueue('select 1'), 'finished')
    const before = rss()
    const id = await queue.enqueue(sql)
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
    expect(task).toMatchObject({ rows_affected: rows, worker_deaths: 0 })
    if (isMeasured) expect(most - before).toBeLessThan(mostMb)
    expect(await stop(work)).toBe(0)
  },
  90_000,
)
