import { expect, inject, onTestFinished, test } from 'vitest'
import { rateOf } from '../bench/queues/measure.js'
import { createEffects, ONE_ROW } from '../bench/queues/workload.js'
import { openServer } from '../bench/server.js'
import { readBenchOptions } from '../bench/speed/bench-options.js'
import { resultText } from '../bench/speed/bench-report.js'
import { readSettings } from '../bench/speed/machine.js'
import { runBench } from '../bench/speed/run-bench.js'

/** Tiny, so that the benchmark cannot rot; the figures are of no use. The others come from the registry, without which tests do. */
test.each([
  ['drain', 'pgbq'],
  ['pickup', 'p50 ms'],
  ['enqueue', 'bare INSERT'],
  ['file', 'COPY into a bare table'],
  ['growth', 'all together'],
  ['pinned', 'last fifth'],
])(
  'the benchmark scenario "%s" comes to its end at a tiny scale, each task done once',
  async (name, shown) => {
    const args = ['--only', name, '--rounds', '1', '--scale', '0.0005', '--no-peers']
    const options = readBenchOptions(args, [{ name, about: '' }])
    if (typeof options === 'string') throw new Error('Help was not asked for')
    const server = await openServer(inject('serverUrl'))
    onTestFinished(() => server.close())
    const [result, ...others] = await runBench(
      server,
      options,
      () => undefined,
      () => undefined,
    )
    expect(others).toEqual([])
    expect(result).toMatchObject({ name })
    expect(result!.error).toBeUndefined()
    expect(result!.figures.length).toBeGreaterThan(0)
    for (const { values } of result!.figures) expect(values.every(Number.isFinite)).toBe(true)
    expect(resultText(result!)).toContain(shown)
  },
  60_000,
)

test('the benchmark refuses a server whose commits are not durable, unless told to take any', async () => {
  const server = await openServer(inject('serverUrl'))
  onTestFinished(() => server.close())
  await server.admin.query('set synchronous_commit = off')
  await expect(readSettings(server, false)).rejects.toThrow('it is off')
  expect(await readSettings(server, true)).toMatchObject({ synchronous_commit: 'off' })
})

test('the benchmark takes no rate from tasks of which one left two rows, or none', async () => {
  const server = await openServer(inject('serverUrl'))
  onTestFinished(() => server.close())
  const { session } = await server.createDatabase()
  await createEffects(session)
  const work = { count: 3, template: ONE_ROW }
  await session.query('insert into effects (n) values (1), (2), (2)')
  await expect(rateOf(session, work)).rejects.toThrow('3 tasks left 3 rows, of 2 different tasks')
  await session.query('insert into effects (n) values (3)')
  await expect(rateOf(session, work)).rejects.toThrow('3 tasks left 4 rows, of 3 different tasks')
  await session.query('delete from effects')
  await session.query(
    "insert into effects values (1, '2026-01-01Z'), (2, '2026-01-01Z'), (3, '2026-01-01 00:00:02Z')",
  )
  expect(await rateOf(session, work)).toBe(1)
})
