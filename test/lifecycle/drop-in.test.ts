import { beforeEach, describe, expect, test, vi } from 'vitest'
import { waitFor } from '../support/wait.js'
import { stop, useQueue } from './work-support.js'

/** The examples of the C extension's documentation, as they stand there; what it says in prose is in the titles. */
vi.setConfig({ testTimeout: 60_000 })

const queue = useQueue()
const run = (sql: string) => queue.db.owner.query<any>(sql)
const one = (sql: string) => queue.db.owner.one<any>(sql)
const enqueue = async (example: string): Promise<bigint> => Object.values(await one(example))[0] as bigint

const RECENT = `-- 检查任务状态
SELECT id, state, sql_statement, joined_at, started_at, closed_at, errors
FROM pg_background_tasks
ORDER BY id DESC
LIMIT 10;`
const PENDING = `-- 查看待处理任务
SELECT COUNT(*) FROM pg_background_tasks WHERE state = 'pending';`
const RUNNING = `-- 查看运行中任务
SELECT COUNT(*) FROM pg_background_tasks WHERE state = 'running';`
const ACTIVE = 'SELECT pg_background_queue_active_workers_count();'
const ENSURE = 'SELECT pg_background_queue_ensure_workers();'
const CALIBRATE = 'SELECT pg_background_queue_calibrate_workers_count();'

describe('the quick start', () => {
  test('enqueues, runs in the background, and shows states and counts', async () => {
    await run('create table logs (message text)')
    const slow = await enqueue(`-- 入队一个简单任务
SELECT pg_background_enqueue('SELECT pg_sleep(5)');`)
    const logged = await enqueue(`-- 入队一个带主题的任务
SELECT pg_background_enqueue(
    'INSERT INTO logs (message) VALUES (''Background task completed'')',
    'logging'
);`)
    expect(await one(PENDING)).toEqual({ count: 2n })
    expect(await one(RUNNING)).toEqual({ count: 0n })
    await queue.work()
    await queue.reaches(logged, 'finished')
    await queue.reaches(slow, 'running')
    expect(await one(RUNNING)).toEqual({ count: 1n })
    await queue.reaches(slow, 'finished')
    const rows = await run(RECENT)
    expect(rows.map((row) => [row.id, row.state, row.errors])).toEqual([
      [logged, 'finished', null],
      [slow, 'finished', null],
    ])
    expect(Object.keys(rows[0])).toEqual([
      'id',
      'state',
      'sql_statement',
      'joined_at',
      'started_at',
      'closed_at',
      'errors',
    ])
    expect(await run('select message from logs')).toEqual([{ message: 'Background task completed' }])
  })

  test('runs the maintenance that crashed the extension', async () => {
    await run('create table users as select 1 as id')
    const id = await enqueue(`SELECT pg_background_enqueue('VACUUM ANALYZE users', 'maintenance');`)
    await queue.work()
    expect(await queue.reaches(id, ['finished', 'failed'])).toMatchObject({ state: 'finished', errors: null })
    expect(await one(`select reltuples from pg_class where relname = 'users'`)).toEqual({ reltuples: 1 })
  })
})

describe('the worker functions', () => {
  test('count the tasks that run now, and none once they have ended', async () => {
    const ids = await queue.enqueueMany(['select pg_sleep(600)', 'select pg_sleep(600)'])
    expect(await enqueue(ACTIVE)).toBe(0)
    await queue.work()
    await Promise.all(ids.map((id) => queue.reaches(id, 'running')))
    expect(await enqueue(ACTIVE)).toBe(2)
    expect(await enqueue(CALIBRATE)).toBe(2)
    await run('select pg_background_cancel(id) from pg_background_tasks')
    await Promise.all(ids.map((id) => queue.reaches(id, 'cancelled')))
    expect(await enqueue(ACTIVE)).toBe(0)
    expect(await enqueue(CALIBRATE)).toBe(0)
  })

  test('recover a task that a dead worker left in state running', async () => {
    const id = await queue.enqueue('select 1')
    await run(`update pg_background_tasks set state = 'running', started_at = now()`)
    expect(await enqueue(ACTIVE)).toBe(1)
    expect(await enqueue(CALIBRATE)).toBe(0)
    expect((await queue.task(id)).state).toBe('pending')
  })

  test('wake the workers, and return void', async () => {
    const work = await queue.work()
    const id = await queue.enqueue('select 1')
    expect(await one(ENSURE)).toEqual({ pg_background_queue_ensure_workers: '' })
    await queue.reaches(id, 'finished')
    expect(work.stderr()).toBe('')
  })

  test.each([
    ['pg_background_enqueue', 'sql text, topic text DEFAULT NULL::text', 'bigint'],
    ['pg_background_queue_ensure_workers', '', 'void'],
    ['pg_background_queue_active_workers_count', '', 'integer'],
    ['pg_background_queue_calibrate_workers_count', '', 'integer'],
  ])('are declared as documented: %s(%s) returns %s', async (name, args, result) => {
    const rows =
      await run(`select pg_get_function_arguments(oid) as args, pg_get_function_result(oid) as result
      from pg_proc where proname = '${name}' and pronamespace = 'public'::regnamespace`)
    expect(rows).toContainEqual({ args, result })
  })
})

test('the table begins with the documented columns, and its states are the documented ones', async () => {
  const columns =
    await run(`select attname::text as name, format_type(atttypid, null) as type from pg_attribute
    where attrelid = 'pg_background_tasks'::regclass and attnum > 0 order by attnum limit 11`)
  expect(columns.map((c) => `${c.name} ${c.type}`)).toEqual([
    'id bigint',
    'sql_statement text',
    'topic text',
    // with time zone: without one the order of tasks would depend on a session's setting
    'joined_at timestamp with time zone',
    'started_at timestamp with time zone',
    'closed_at timestamp with time zone',
    'priority integer',
    'state pg_background_queue_task_state',
    'retry_count integer',
    'retry_delay_in_sec integer',
    'errors text',
  ])
  const { states } = await one('select enum_range(null::pg_background_queue_task_state)::text as states')
  expect(states).toMatch(/^\{pending,running,retrying,failed,finished,/)
})

describe('the statistics', () => {
  const BY_STATE = `-- 按状态统计任务数
SELECT state, COUNT(*) as count
FROM pg_background_tasks
GROUP BY state;`
  const FAILURES = `-- 最近的失败任务
SELECT id, sql_statement, errors, closed_at
FROM pg_background_tasks
WHERE state = 'failed'
ORDER BY closed_at DESC
LIMIT 10;`
  const DURATIONS = `-- 按主题统计平均任务持续时间
SELECT 
    topic,
    COUNT(*) as total_tasks,
    AVG(EXTRACT(EPOCH FROM (closed_at - started_at))) as avg_duration_seconds
FROM pg_background_tasks
WHERE state = 'finished' AND started_at IS NOT NULL
GROUP BY topic;`
  const NOTE = 'insert into seen values (clock_timestamp())'
  let ids: { slow: bigint; first: bigint; second: bigint }

  beforeEach(async () => {
    await run('drop table if exists seen; create table seen (at timestamptz)')
    const slow = await queue.enqueue(`${NOTE}; select pg_sleep(0.5); ${NOTE}`, { topic: 'reporting' })
    const done = await queue.enqueue('select 1', { topic: 'mail' })
    const first = await queue.enqueue('select 1/0', { topic: 'mail' })
    const second = await queue.enqueue('select * from "nowhere"')
    const work = await queue.work(['--concurrency', '1'])
    for (const id of [slow, done]) await queue.reaches(id, 'finished')
    for (const id of [first, second]) await queue.reaches(id, 'failed')
    await stop(work)
    await queue.enqueue('select 1')
    await run(`select pg_background_cancel(${await queue.enqueue('select 1')})`)
    ids = { slow, first, second }
  })

  test('count by state, list the recent failures, and give each topic its true average duration', async () => {
    const counts = await run(BY_STATE)
    expect(Object.fromEntries(counts.map((row) => [row.state, row.count]))).toEqual({
      pending: 1n,
      finished: 2n,
      failed: 2n,
      cancelled: 1n,
    })
    const failures = await run(FAILURES)
    expect(failures.map((row) => [row.id, row.errors])).toEqual([
      [ids.second, expect.stringMatching(/^ERROR 42P01: relation "nowhere" does not exist/)],
      [ids.first, 'ERROR 22012: division by zero'],
    ])
    const durations = new Map((await run(DURATIONS)).map((row) => [row.topic, row]))
    expect([...durations.keys()].sort()).toEqual(['mail', 'reporting'])
    expect(durations.get('reporting')).toMatchObject({ total_tasks: 1n })
    expect(Number(durations.get('reporting').avg_duration_seconds)).toBeGreaterThanOrEqual(0.5)
    expect(durations.get('mail')).toMatchObject({ total_tasks: 1n })
    // the true start and end: both notes of the task itself lie between them
    const { within } = await one(`select bool_and(s.at between t.started_at and t.closed_at) as within
      from seen s, pg_background_tasks t where t.id = ${ids.slow}`)
    expect(within).toBe(true)
  })
})

test('old tasks may be deleted, as the advice on clearing up says', async () => {
  const id = await queue.enqueue('select 1')
  await queue.work(['--drain', '--warm', '1'], { isReadyAwaited: false })
  await queue.reaches(id, 'finished')
  await run(
    `delete from pg_background_tasks where state = 'finished' and closed_at < now() + interval '1 day'`,
  )
  await waitFor('the row to be gone', async () => (await run(RECENT)).length === 0)
})
