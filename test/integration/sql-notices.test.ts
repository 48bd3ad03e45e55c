import { beforeEach, describe, expect, test } from 'vitest'
import type { Database } from '../../src/engine/database/database.js'
import { useDatabase } from '../support/database.js'
import { ALICE, BOB } from '../support/names.js'
import { waitFor } from '../support/wait.js'

const db = useDatabase()

beforeEach(() => db.owner.query('truncate pg_background_tasks'))

const line = (taskId: bigint, seq: number) => ({
  task_id: String(taskId),
  attempt: 1,
  seq,
  age_ms: 0,
  severity: 'NOTICE',
  code: '00000',
  message: `line ${seq}`,
})

async function note(taskId: bigint, from: number, to: number, by = db.owner): Promise<void> {
  const lines = Array.from({ length: to - from + 1 }, (_, i) => line(taskId, from + i))
  await by.query('select background_queue.note($1)', [JSON.stringify(lines)])
}

async function enqueue(by = db.owner): Promise<bigint> {
  return (await by.one<{ id: bigint }>(`select pg_background_enqueue('select 1') as id`)).id
}

async function kept(taskId: bigint, by = db.owner): Promise<number[]> {
  const rows = await by.query<{ seq: number }>(
    'select seq from background_queue.notices where task_id = $1 order by id',
    [taskId],
  )
  return rows.map((row) => row.seq)
}

test('keeps the last 1,000 lines of each task, in their order', async () => {
  const [chatty, quiet] = [await enqueue(), await enqueue()]
  await note(chatty, 1, 600)
  await note(quiet, 1, 3)
  await note(chatty, 601, 1100)
  expect(await kept(chatty)).toEqual(Array.from({ length: 1000 }, (_, i) => 101 + i))
  expect(await kept(quiet)).toEqual([1, 2, 3])
})

test('a line was said so long before it was written, by the clock of the server', async () => {
  const id = await enqueue()
  const lines = [{ ...line(id, 1), age_ms: 60_000 }]
  await db.owner.query('select background_queue.note($1)', [JSON.stringify(lines)])
  const { sec } = await db.owner.one<{ sec: number }>(
    'select extract(epoch from clock_timestamp() - at)::float8 as sec from background_queue.notices',
  )
  expect(sec).toBeGreaterThanOrEqual(60)
  expect(sec).toBeLessThan(90)
})

test('drops the lines of a task that is gone', async () => {
  await note(987_654_321n, 1, 2)
  expect(await db.owner.query('select from background_queue.notices')).toEqual([])
})

describe('a task takes its notices with it', () => {
  test.each([
    ['when it is deleted', ['delete from pg_background_tasks where id = $1']],
    [
      'when it is pruned',
      [
        `update pg_background_tasks set state = 'finished', closed_at = now() where id = $1`,
        `select background_queue.prune_part('-infinity', 0, 'infinity', $1, 10)`,
      ],
    ],
  ])('%s', async (_, statements) => {
    const [gone, other] = [await enqueue(), await enqueue()]
    await note(gone, 1, 2)
    await note(other, 1, 1)
    for (const sql of statements) await db.owner.query(sql, [gone])
    expect(await kept(gone)).toEqual([])
    expect(await kept(other)).toEqual([1])
  })

  test('when all are truncated', async () => {
    const id = await enqueue()
    await note(id, 1, 2)
    await db.owner.query('truncate pg_background_tasks')
    expect(await kept(id)).toEqual([])
  })
})

test('numbers are seen in their order: who writes later waits for who writes now', async () => {
  const id = await enqueue()
  const [first, second] = [await db.session(), await db.session()]
  await first.query('begin')
  await note(id, 1, 1, first)
  const later = note(id, 2, 2, second)
  await waitFor('the second to wait for a lock', () => isWaiting(second))
  await first.query('commit')
  await later
  expect(await kept(id)).toEqual([1, 2])
})

async function isWaiting({ backendKey }: Database): Promise<boolean> {
  const rows = await db.admin.query(
    `select from pg_stat_activity where pid = $1 and wait_event_type = 'Lock'`,
    [backendKey.processId],
  )
  return rows.length > 0
}

describe('a role that may enqueue', () => {
  test('sees the notices of its own tasks only, and writes none', async () => {
    for (const role of [ALICE, BOB]) await db.owner.query('select background_queue.grant_enqueue($1)', [role])
    const [alice, bob] = [await db.session(ALICE), await db.session(BOB)]
    const [hers, his] = [await enqueue(alice), await enqueue(bob)]
    await note(hers, 1, 2)
    await note(his, 1, 1)
    expect(await alice.query('select task_id, seq from background_queue.notices order by id')).toEqual([
      { task_id: hers, seq: 1 },
      { task_id: hers, seq: 2 },
    ])
    await expect(note(hers, 3, 3, alice)).rejects.toThrow(/permission denied/)
    await expect(alice.query('delete from background_queue.notices')).rejects.toThrow(/permission denied/)
  })
})

test('rights_problems() finds a policy on notices that is not ours', async () => {
  await db.owner.query('create policy all_may on background_queue.notices for select using (true)')
  const problems = await db.owner.query<{ problem: string }>(
    'select problem from background_queue.rights_problems()',
  )
  expect(problems.map((p) => p.problem)).toContain(`the policy all_may is not the queue's`)
  await db.owner.query('drop policy all_may on background_queue.notices')
})
