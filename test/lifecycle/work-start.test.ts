import { describe, expect, test } from 'vitest'
import { pgbq } from '../support/cli.js'
import { useDatabase } from '../support/database.js'
import { ALICE } from '../support/names.js'
import { waitFor } from '../support/wait.js'
import { eventsOf, sessions, stop, useQueue } from './work-support.js'

const queue = useQueue()
const empty = useDatabase({ isEmpty: true })
const other = useDatabase()

describe('a start', () => {
  test('is ready only once the warm workers are connected, with their application names', async () => {
    const work = await queue.work(['--concurrency', '3'])
    const found = await sessions(queue.db)
    expect(found.map((s) => s.application_name).sort()).toEqual([
      'pg_background_queue supervisor',
      ...Array(3).fill('pg_background_queue worker'),
    ])
    const names = work.events().map((e) => e.event)
    expect(names).toEqual(['worker_started', 'worker_started', 'worker_started', 'ready'])
    expect(work.events().at(-1)).toMatchObject({ slots: 3, warm: 3 })
    expect(await stop(work)).toBe(0)
  })

  test('keeps only --warm workers, and starts more on demand up to --concurrency', async () => {
    const work = await queue.work(['--concurrency', '4', '--warm', '1'])
    expect(eventsOf(work, 'worker_started')).toHaveLength(1)
    await queue.db.owner.query('select pg_advisory_lock(1)')
    await queue.enqueueMany(Array(5).fill('select pg_advisory_lock_shared(1)'))
    await waitFor('four tasks at once', async () => (await running()) === 4)
    await queue.db.owner.query('select pg_advisory_unlock(1)')
    expect(eventsOf(work, 'worker_started')).toHaveLength(4)
    expect(await stop(work)).toBe(0)
    expect(await queue.count('select count(*) from background_queue.workers')).toBe(0)
    expect(await queue.count('select count(*) from background_queue.supervisors')).toBe(0)
  })

  test('with --warm 0 starts its first worker for the first task', async () => {
    const work = await queue.work(['--warm', '0', '--concurrency', '2'])
    expect(await sessions(queue.db)).toHaveLength(1)
    const id = await queue.enqueue('select 1')
    await queue.reaches(id, 'finished')
    expect(await stop(work)).toBe(0)
  })

  test('runs four of 30 tasks at once by default where the server has 8 worker processes, and counts them', async (ctx) => {
    const { n } = await queue.db.owner.one<{ n: number }>(
      `select current_setting('max_worker_processes')::integer as n`,
    )
    if (n !== 8) ctx.skip(`the server has max_worker_processes = ${n}`)
    const work = await queue.work()
    await queue.enqueueMany(Array(30).fill('select pg_sleep(0.4)'))
    const committedAt = performance.now()
    await waitFor('four running tasks', async () => (await running()) === 4)
    expect(performance.now() - committedAt).toBeLessThan(1000)
    process.stdout.write(
      `four tasks ran ${Math.round(performance.now() - committedAt)} ms after the commit\n`,
    )
    const active = await waitFor('four active backends', async () => {
      const all = (await sessions(queue.db)).filter(
        (s) => s.application_name.endsWith('worker') || /^pgbq/.test(s.application_name),
      )
      return all.filter((s) => s.state === 'active').length === 4 && all
    })
    expect(active).toHaveLength(4)
    await waitFor(
      'the end of all',
      async () =>
        (await queue.count(`select count(*) from pg_background_tasks where state = 'finished'`)) === 30,
    )
    expect(await running()).toBe(0)
    expect(await stop(work)).toBe(0)
  })
})

async function running(): Promise<number> {
  const row = await queue.db.owner.one<{ n: number }>(
    'select pg_background_queue_active_workers_count() as n',
  )
  return row.n
}

describe('a start that cannot be', () => {
  async function refusal(url: string, args: string[] = []) {
    const result = await pgbq(['work', '--json', ...args], { url })
    return { code: result.code, error: result.json.error }
  }

  test('says that the queue is not installed', async () => {
    const { code, error } = await refusal(empty.url())
    expect(code).toBe(1)
    expect(error).toMatchObject({ code: 'NOT_INSTALLED', hint: 'pgbq install' })
    expect(error.message).toContain(empty.name)
  })

  test.each([
    { version: 'an older', by: -100, code: 'OLDER_SCHEMA', hint: 'pgbq install' },
    {
      version: 'a newer',
      by: 1000,
      code: 'NEWER_SCHEMA',
      hint: 'npm install --global pg-background-queue@latest',
    },
  ])('refuses $version schema', async ({ by, code, hint }) => {
    const change = `update background_queue.migrations set version = version + ${by}`
    const undo = `update background_queue.migrations set version = version - ${by}`
    await other.owner.query(change)
    const found = await refusal(other.url())
    await other.owner.query(undo)
    expect(found.code).toBe(1)
    expect(found.error).toMatchObject({ code, hint })
  })

  test('says that no server answers', async () => {
    const { code, error } = await refusal('postgresql://nobody@127.0.0.1:1/none')
    expect(code).toBe(1)
    expect(error.code).toBe('SERVER_UNREACHABLE')
    expect(error.hint).toBeTruthy()
  })

  test('refuses a role that does not own the queue', async () => {
    await other.owner.query('select background_queue.grant_enqueue($1)', [ALICE])
    const { code, error } = await refusal(other.url(ALICE))
    expect(code).toBe(1)
    expect(error.code).toBe('NOT_OWNER')
    expect(error.message).toContain(ALICE)
  })

  test('refuses a clone of another database', async () => {
    await other.owner.query(
      'update background_queue.queue set database_oid = database_oid::bigint::integer + 1',
    )
    const { code, error } = await refusal(other.url())
    await other.owner.query(
      'update background_queue.queue set database_oid = (select oid from pg_database where datname = current_database())',
    )
    expect(code).toBe(1)
    expect(error.code).toBe('OTHER_DATABASE')
    expect(error.hint).toContain('pgbq calibrate --adopt')
  })

  test.each([
    [['--concurrency', '0'], '--concurrency to be an integer from 1 to 64'],
    [['--concurrency', '65'], '--concurrency to be an integer from 1 to 64'],
    [['--concurrency', '2.5'], '--concurrency to be an integer from 1 to 64'],
    [['--warm=-1'], '--warm to be an integer from 0 to 64'],
    [['--shutdown-timeout', 'soon'], '--shutdown-timeout'],
    [['--idle-timeout', '-5s'], '--idle-timeout'],
  ])('refuses %j before it connects', async (args, message) => {
    const { code, error } = await refusal('postgresql://nobody@127.0.0.1:1/none', args)
    expect(code).toBe(2)
    expect(error.message).toContain(message)
  })
})
