import { describe, expect, test, vi } from 'vitest'
import { pgbq, startWork } from '../support/cli.js'
import { useDatabase } from '../support/database.js'
import { waitFor } from '../support/wait.js'
import { holderOf, stop, useQueue } from './work-support.js'

vi.setConfig({ testTimeout: 90_000 })

const queue = useQueue()
const run = (...args: string[]) => pgbq(args, { url: queue.db.url() })
const states = async (ids: bigint[]) => {
  const found: string[] = []
  for (const id of ids) found.push((await queue.task(id)).state)
  return found
}
const drain = () => run('work', '--drain', '--warm', '1')

describe('pgbq cancel', () => {
  test('cancels a waiting task, and refuses a closed and an unknown one with exit 1', async () => {
    const id = await queue.enqueue('select 1')
    expect(await run('cancel', String(id))).toMatchObject({
      code: 0,
      stdout: `Task ${id} is cancelled\n`,
      stderr: '',
    })
    expect((await queue.task(id)).state).toBe('cancelled')
    expect(await run('cancel', String(id))).toMatchObject({
      code: 1,
      stdout: `Task ${id} is cancelled, so it cannot be cancelled\n`,
    })
    const waiting = await queue.enqueue('select 2')
    const { code, json } = await run('cancel', String(id), '999999999', String(waiting), '--json')
    expect(code).toBe(1)
    expect(json.tasks).toMatchObject([
      { id: Number(id), done: false, state: 'cancelled' },
      { id: 999999999, done: false, state: null, message: 'No task has the id 999999999' },
      { id: Number(waiting), done: true, state: 'cancelled' },
    ])
  })

  test('asks for the end of a running task, and with --wait waits for it', async () => {
    const work = await queue.work(['--concurrency', '2'])
    await queue.db.owner.query('create table ledger (n integer)')
    const [asked, awaited] = [
      await queue.enqueue('insert into ledger values (1); select pg_sleep(600)'),
      await queue.enqueue('insert into ledger values (2); select pg_sleep(600)'),
    ]
    await holderOf(queue, asked)
    await holderOf(queue, awaited)
    const { code, json } = await run('cancel', String(asked), '--json')
    expect(code).toBe(0)
    expect(json.tasks).toMatchObject([{ id: Number(asked), done: true }])
    expect(await run('cancel', String(awaited), '--wait')).toMatchObject({
      code: 0,
      stdout: `Task ${awaited} is cancelled\n`,
    })
    expect((await queue.task(awaited)).state).toBe('cancelled')
    await queue.reaches(asked, 'cancelled')
    expect(await queue.count('select count(*) from ledger')).toBe(0)
    expect(await stop(work)).toBe(0)
  })
})

describe('pgbq retry', () => {
  test('makes a failed task pending, and refuses a waiting and an unknown one with exit 1', async () => {
    const id = await queue.enqueue('select 1/0')
    await drain()
    expect(await run('retry', String(id))).toMatchObject({
      code: 0,
      stdout: `Task ${id} is to run again\n`,
      stderr: '',
    })
    expect((await queue.task(id)).state).toBe('pending')
    const { code, json } = await run('retry', String(id), '999999999', '--json')
    expect(code).toBe(1)
    expect(json.tasks).toMatchObject([
      { id: Number(id), done: false, state: 'pending' },
      { id: 999999999, done: false, state: null },
    ])
  })

  test('with --failed takes those of a topic and a time, and says how many first', async () => {
    const mail = [...(await queue.enqueueMany(['select 1/0', 'select 2/0', 'select 3/0'], 'mail'))]
    const other = await queue.enqueue('select 1/0', { topic: 'other' })
    const none = await queue.enqueue('select 1/0')
    await drain()
    await queue.db.admin.query(
      `update pg_background_tasks set closed_at = closed_at - interval '2 hours' where id = $1`,
      [mail[0]],
    )
    const { code, stdout, stderr } = await run('retry', '--failed', '--topic', 'mail', '--since', '1h')
    expect({ code, stdout }).toEqual({ code: 0, stdout: '2 tasks retried\n' })
    expect(stderr).toMatch(/^2 failed tasks will run again\n/)
    expect(await states([...mail, other, none])).toEqual([
      ...['failed', 'pending', 'pending'],
      ...['failed', 'failed'],
    ])
    const untitled = await run('retry', '--failed', '--no-topic', '--json')
    expect(untitled.json).toEqual({ matched: 1, retried: 1, refused: [] })
    expect((await run('retry', '--failed', '--yes')).stdout).toBe('2 tasks retried\n')
    expect((await run('retry', '--failed')).stdout).toBe('0 tasks retried\n')
  })
})

describe('pgbq pause and resume', () => {
  const paused = async (...topic: string[]) => (await run('config', 'get', 'paused', ...topic)).stdout.trim()

  test('of a topic hold it alone', async () => {
    expect(await run('pause', '--topic', 'mail')).toMatchObject({
      code: 0,
      stdout: 'Topic "mail" is paused; nothing is running\n',
    })
    expect(await paused('--topic', 'mail')).toBe('true')
    expect(await paused()).toBe('false')
    const [held, free] = [await queue.enqueue('select 1', { topic: 'mail' }), await queue.enqueue('select 1')]
    await drain()
    expect(await states([held, free])).toEqual(['pending', 'finished'])
    expect(await run('resume', '--topic', 'mail')).toMatchObject({
      code: 0,
      stdout: 'Topic "mail" is resumed\n',
    })
    expect(await paused('--topic', 'mail')).toBe('false')
    await drain()
    expect(await states([held])).toEqual(['finished'])
  })

  test('of the whole queue hold all, and a topic paused by itself stays so and is named', async () => {
    const { code, stdout, stderr } = await run('pause')
    expect({ code, stdout }).toEqual({ code: 0, stdout: 'The queue is paused; nothing is running\n' })
    expect(stderr).toContain('The whole queue will be paused; nothing is running')
    expect(await paused()).toBe('true')
    await run('pause', '--topic', 'mail')
    const { json } = await run('resume', '--topic', 'other', '--json')
    expect(json.paused).toEqual({ queue: true, topics: ['mail'] })
    const resumed = await run('resume')
    expect(resumed.stdout).toBe(
      'The queue is resumed\nStill paused by themselves: "mail". Try this: pgbq resume --topic TOPIC\n',
    )
    expect(await paused()).toBe('false')
    expect(await paused('--topic', 'mail')).toBe('true')
  })
})

describe('pgbq prune', () => {
  test('deletes what is too old or too many, the oldest first, and nothing on --dry-run', async () => {
    const ids = [...(await queue.enqueueMany(['select 1', 'select 2', 'select 3', 'select 4']))]
    await drain()
    for (const [age, id] of ids.entries()) {
      await queue.db.admin.query(
        `update pg_background_tasks set closed_at = now() - make_interval(days => 40 - 10 * $1) where id = $2`,
        [age, id],
      )
    }
    const waiting = await queue.enqueue('select 5')
    const left = async () =>
      (await queue.db.owner.query<{ id: bigint }>('select id from pg_background_tasks order by id')).map(
        (row) => row.id,
      )
    expect(await run('prune', '--older-than', '25d', '--dry-run')).toMatchObject({
      code: 0,
      stdout: 'Nothing was deleted. 2 closed tasks would be\n',
      stderr: '',
    })
    expect(await left()).toEqual([...ids, waiting])
    expect(await run('prune', '--older-than', '35d')).toMatchObject({
      code: 0,
      stdout: '1 closed task deleted\n',
      stderr: expect.stringMatching(/^1 closed task will be deleted\n/),
    })
    expect(await left()).toEqual([...ids.slice(1), waiting])
    const { json } = await run('prune', '--older-than', '35d', '--keep', '1', '--json')
    expect(json).toEqual({ matched: 2, pruned: 2 })
    expect(await left()).toEqual([ids[3], waiting])
    await run('prune', '--keep', '0', '--yes')
    expect(await left()).toEqual([waiting])
  })

  test('goes on over several transactions', async () => {
    await queue.db.owner.query(`select pg_background_enqueue('select 1') from generate_series(1, 2500)`)
    await queue.db.owner.query('select pg_background_cancel(id) from pg_background_tasks')
    expect((await run('prune', '--keep', '100')).stdout).toBe('2,400 closed tasks deleted\n')
    expect(await queue.count('select count(*) from pg_background_tasks')).toBe(100)
  })
})

describe('pgbq uninstall', () => {
  const db = useDatabase()
  const uninstall = (...args: string[]) => pgbq(['uninstall', ...args], { url: db.url() })

  test('refuses where nobody can be asked, and while a supervisor lives', async () => {
    await queue.enqueue('select 1', { run_at: '2090-01-01' })
    expect(await run('uninstall')).toMatchObject({
      code: 2,
      stdout: '',
      stderr: expect.stringMatching(
        /1 waiting task, 0 running and 0 closed.*Try this: pgbq uninstall --yes/s,
      ),
    })
    const work = await queue.work(['--concurrency', '1'])
    const { code, json } = await run('uninstall', '--yes', '--json')
    expect({ code, error: json.error.code }).toEqual({ code: 1, error: 'WORKERS_LIVE' })
    expect(await queue.count('select count(*) from pg_background_tasks')).toBe(1)
    expect(await stop(work)).toBe(0)
  })

  test('with --yes leaves nothing of the queue, and what tasks have done', async () => {
    await db.owner.query(`select pg_background_enqueue('create table done_by_a_task ()')`)
    await pgbq(['work', '--drain', '--warm', '1'], { url: db.url() })
    expect(await uninstall('--yes')).toMatchObject({
      code: 0,
      stdout: 'The queue is gone from schema "public"\n',
    })
    const objects = await db.admin.query<{ name: string }>(
      `select relname::text as name from pg_class where relnamespace = 'public'::regnamespace
       union all select proname from pg_proc where pronamespace = 'public'::regnamespace
       union all select typname from pg_type where typnamespace = 'public'::regnamespace and typtype = 'e'
       union all select nspname from pg_namespace where nspname like 'background%'`,
    )
    expect(objects.map((o) => o.name)).toEqual(['done_by_a_task'])
    expect(await uninstall('--yes')).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('pgbq install'),
    })
    expect((await pgbq(['install'], { url: db.url() })).code).toBe(0)
  })

  test('with --force ends a supervisor and its workers', async () => {
    const work = await startWork(['--concurrency', '1'], { url: db.url() })
    expect((await uninstall('--yes')).code).toBe(1)
    expect(await uninstall('--yes', '--force')).toMatchObject({
      code: 0,
      stdout: 'The queue is gone from schema "public"\n',
    })
    await work.event((e) => e.event === 'database_lost')
    const sessions = `select pid from pg_stat_activity where application_name like 'pg_background_queue%'
      and datname = current_database()`
    await waitFor('every session to be gone', async () => (await db.admin.query(sessions)).length === 0)
    expect(await stop(work)).toBe(0)
  })
})

test.each([
  [['cancel'], 'The argument "id" is missing'],
  [['cancel', 'x'], 'Expected the id of a task, got "x"'],
  [['retry'], 'Expected IDs or --failed'],
  [['retry', '1', '--failed'], 'IDs do not go with --failed'],
  [['retry', '--topic', 'mail'], '--topic, --no-topic and --since go only with --failed'],
  [['retry', '--failed', '--since', '1x'], 'Expected --since to be a duration'],
  [['pause', '--topic', 'x'.repeat(201)], 'Expected a topic of 1 to 200 characters, got 201'],
  [['resume', '--topic'], '--topic has no value'],
  [['resume', '--yes'], 'No flag is named "--yes"'],
  [['prune', '--keep', '-1'], 'Expected --keep to be an integer'],
  [['prune', '--older-than', 'x'], 'Expected --older-than to be a duration'],
  [['uninstall', '--now'], 'No flag is named "--now"'],
])('%j is refused with exit 2 and the way out', async (args, message) => {
  const { code, stdout, stderr } = await run(...args)
  expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
  expect(stderr).toContain(message)
  expect(stderr).toContain(`Try this: pgbq ${args[0]} --help`)
})
