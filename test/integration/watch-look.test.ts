import { beforeAll, describe, expect, test } from 'vitest'
import type { Database } from '../../src/engine/database/database.js'
import { inSchema, namedQuery } from '../../src/engine/sql-files.js'
import { readStatus } from '../../src/engine/status.js'
import { LOOK_SETTINGS, type Look, type LookRequest, takeLook } from '../../src/engine/watch/look.js'
import { Painter } from '../../src/engine/watch/picture.js'
import { useDatabase } from '../support/database.js'

const db = useDatabase()
const CLOSED = 60_000
let session: Database

/** A large table: many closed tasks, and a few of every other state. */
beforeAll(async () => {
  await db.owner.query(`insert into pg_background_tasks (sql_statement, topic, state, started_at, closed_at, errors, joined_at)
    select repeat('x', 100), 'topic ' || i % 3, case when i % 10 = 0 then 'failed' else 'finished' end::pg_background_queue_task_state,
      now() - interval '1 hour', now() - interval '1 hour' + i * interval '1 ms', case when i % 10 = 0 then 'ERROR' end, now() - interval '1 day'
    from generate_series(1, ${CLOSED}) i`)
  await db.owner.query(`insert into pg_background_tasks (sql_statement, topic, state, started_at, closed_at)
    select 'select 2', 'now', 'finished', now(), clock_timestamp() from generate_series(1, 7)`)
  await db.owner.query(`select pg_background_enqueue('select 3', 'later', '{"run_at": "2090-01-01"}')`)
  await db.owner.query(`select pg_background_enqueue(repeat('漢', 500000), 'big')`)
  await db.admin.query('vacuum analyze pg_background_tasks')
  session = await db.session()
  for (const [name, value] of Object.entries(LOOK_SETTINGS))
    await session.query(`select set_config($1, $2, false)`, [name, value])
})

const look = (request: LookRequest = {}, percent = 0): Promise<Look> =>
  takeLook(session, 'public', request, { sec: 62, percent })

test('waiting tasks are counted by topic and state, with how long the oldest due one has waited', async () => {
  const { counts, isWaitingWhole, closings } = await look()
  expect(isWaitingWhole).toBe(true)
  const sorted = counts.sort((a, b) => String(a.topic).localeCompare(String(b.topic)))
  expect(sorted).toEqual([
    { topic: 'big', state: 'pending', count: 1, due: expect.any(Number) },
    { topic: 'later', state: 'pending', count: 1, due: null },
  ])
  expect(closings.reduce((sum, c) => sum + c.count, 0)).toBe(7)
})

test('closed tasks of a large table are estimated, near the truth that status counts', async () => {
  const painter = new Painter()
  painter.demand(0)
  painter.paint(await look())
  const { percent } = painter.demand(0)
  expect(percent).toBeLessThan(100)
  const { states, sample } = painter.paint(await look({}, percent))
  const exact = await readStatus(db.owner, 'public')
  expect(exact.states).toMatchObject({ finished: CLOSED * 0.9 + 7, failed: CLOSED / 10, pending: 2 })
  expect(sample?.percent).toBe(percent)
  expect(states.finished.isEstimate).toBe(true)
  expect(Math.abs(states.finished.count / exact.states.finished - 1)).toBeLessThan(0.25)
  expect(states.pending).toEqual({ count: 2, isEstimate: false })
})

test('a look reads no more of a large table than its sample', async () => {
  for (const request of [{}, { topics: [] }, { topics: ['topic 1'], states: ['failed'] }, { id: '5' }]) {
    const plan = await session.query<{ 'QUERY PLAN': string }>(
      `explain (analyze, buffers, timing off, summary off) ${inSchema(namedQuery('watch'), 'public')}`,
      [
        62,
        (request as LookRequest).topics ?? null,
        (request as LookRequest).states ?? null,
        (request as LookRequest).id ?? null,
        0,
      ],
    )
    const lines = plan.map((row) => row['QUERY PLAN'])
    expect(lines.filter((line) => /Seq Scan on pg_background_tasks/.test(line))).toEqual([])
    const read = lines
      .filter((line) => line.includes('on pg_background_tasks'))
      .map((line) => Number(/rows=(\d+)(?:\.\d+)? loops=1\)/.exec(line)?.[1] ?? 0))
    expect(read.length).toBeGreaterThan(0)
    expect(Math.max(...read)).toBeLessThanOrEqual(10_001)
  }
})

describe('tasks', () => {
  test('of a topic come as they run, wait and have ended last, shortened', async () => {
    const { tasks } = await look({ topics: ['now', 'later', 'big'] })
    expect(tasks.map((t) => t.topic)).toEqual(['big', 'later', ...Array(7).fill('now')])
    expect(tasks[0]!.sql).toBe('漢'.repeat(300))
    expect(tasks[1]!.sec).toBeLessThan(0)
  })

  test('can be asked for by state', async () => {
    const { tasks } = await look({ topics: [], states: ['failed'] })
    expect(new Set(tasks.map((t) => t.state))).toEqual(new Set(['failed']))
    expect(tasks).toHaveLength(300)
  })

  test('one is there in full but for the end of a long statement, and without secrets', async () => {
    const [big] = (await look({ topics: ['big'] })).tasks
    const { task } = await look({ id: big!.id })
    expect(task).toMatchObject({ id: big!.id, state: 'pending', bytes: 1_500_000, attempts: [] })
    expect(task!.sql).toHaveLength(8000)
    expect(Object.keys(task!.row)).not.toContain('token_hash')
    expect((await look({ id: '999999999' })).task).toBeNull()
  })
})

test('failures that ended last are found without a look at the tasks that finished', async () => {
  const explain = async (name: string, values: unknown[]) =>
    (
      await db.owner.query<{ 'QUERY PLAN': string }>(
        `explain ${inSchema(namedQuery(name), 'public')}`,
        values,
      )
    )
      .map((row) => row['QUERY PLAN'])
      .join('\n')
  await db.admin.query(`delete from pg_background_tasks where state = 'failed' and id > 100`)
  await db.admin.query('vacuum analyze pg_background_tasks')
  expect(await explain('recent_failures', [])).toContain('tasks_failed_idx')
  expect(await explain('tasks', [['failed'], null, 20])).toContain('tasks_failed_idx')
})
