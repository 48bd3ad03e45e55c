import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, inject, onTestFinished, test } from 'vitest'
import { pgbq } from '../support/cli.js'
import { ALICE, OWNER, PASSWORD } from '../support/names.js'
import { findPgbouncer, type Pooler, type PoolerOptions, startPooler } from '../support/pooler.js'
import { waitFor } from '../support/wait.js'
import { eventsOf, holderOf, isAlive, sessions, stop, useQueue, workerPids } from './work-support.js'

const queue = useQueue()
const users = [OWNER, ALICE].map((name) => ({ name, password: PASSWORD }))
const start = (mode: PoolerOptions['mode'], settings = {}, userSettings = '') =>
  startPooler({ serverUrl: inject('serverUrl'), mode, users, settings, userSettings })
const own = async (...args: Parameters<typeof start>): Promise<Pooler> => {
  const pooler = await start(...args)
  onTestFinished(() => pooler.stop())
  return pooler
}

beforeEach(async (ctx) => {
  if (!findPgbouncer()) ctx.skip('there is no program "pgbouncer"')
  await queue.db.owner.query('create table if not exists ledger (n integer); truncate ledger')
})
const entries = () => queue.count('select count(*) from ledger')

function usePooler(...args: Parameters<typeof start>): { through(role?: string): string; pooler: Pooler } {
  const holder = { through: (role?: string) => holder.pooler.through(queue.db.url(role)) } as {
    through(role?: string): string
    pooler: Pooler
  }
  beforeAll(async () => {
    if (findPgbouncer()) holder.pooler = await start(...args)
  })
  afterAll(() => holder.pooler?.stop())
  return holder
}

const GUARDS = {
  application_name: 'pg_background_queue worker',
  client_encoding: 'UTF8',
  client_connection_check_interval: '500',
  idle_in_transaction_session_timeout: '60000',
  idle_session_timeout: '0',
  log_parameter_max_length_on_error: '0',
}
const LOOK = `create table seen as select name, setting, pg_backend_pid() as pid from pg_settings
  where name in ('${Object.keys(GUARDS).join("', '")}')`

/** What the second of two tasks sees in the session which the first one has left. */
async function guardsBehindReset(url: string): Promise<void> {
  onTestFinished(async () => void (await queue.db.owner.query('drop table if exists seen, pids')))
  const work = await queue.work(['--concurrency', '1'], { url })
  await queue.enqueue(`create table pids as select pg_backend_pid() as pid; create temp table leftover ();
    set application_name = 'x'; reset all; set search_path = pg_temp; set statement_timeout = 1000`)
  const id = await queue.enqueue(LOOK)
  const gone = await queue.enqueue('select from leftover')
  await queue.reaches(id, 'finished')
  await queue.reaches(gone, 'failed')
  const seen = await queue.db.owner.query<{ name: string; setting: string; pid: number }>(
    'select * from seen',
  )
  const { pid } = await queue.db.owner.one<{ pid: number }>('select pid from pids')
  const { version } = await queue.db.owner.one<{ version: number }>(
    `select current_setting('server_version_num')::integer as version`,
  )
  const isOld = version < 140000
  const known = Object.entries(GUARDS).filter(([name]) => !isOld || !/check_interval|idle_session/.test(name))
  expect(Object.fromEntries(seen.map((s) => [s.name, s.setting]))).toEqual(Object.fromEntries(known))
  expect(new Set(seen.map((s) => s.pid))).toEqual(new Set([pid]))
  expect(await stop(work)).toBe(0)
}

describe('a pooler in session mode', () => {
  const session = usePooler('session')

  test('lets a worker keep every guard of its session, also behind a task that resets them', () =>
    guardsBehindReset(session.through()))

  test('may drop the options of the login in silence: the guards hold all the same', async () => {
    const pooler = await own('session', { ignore_startup_parameters: 'options' })
    await guardsBehindReset(pooler.through(queue.db.url()))
  })

  test('passes cancels and time-outs on to the task that they are meant for, of any role', async () => {
    await queue.db.owner.query('select background_queue.grant_enqueue($1)', [ALICE])
    const alice = await queue.db.session(ALICE)
    const work = await queue.work(['--concurrency', '3'], { url: session.through() })
    const ids = [
      await queue.enqueue('select pg_sleep(60)'),
      await queue.enqueue('select pg_sleep(60)', {}, alice),
    ]
    const slow = await queue.enqueue('select pg_sleep(60)', { timeout_in_sec: 0.5 })
    for (const id of ids) await holderOf(queue, id)
    for (const id of ids) await queue.db.owner.query('select pg_background_cancel($1)', [id])
    for (const id of ids) await queue.reaches(id, 'cancelled', 2500)
    expect((await queue.reaches(slow, 'failed')).errors).toMatch(/Timed out after 0.5 s/)
    // one that is idle then may be asked to leave, for room for another role's
    expect(eventsOf(work, 'worker_gone').filter((e) => !e.is_expected)).toEqual([])
    expect(await stop(work)).toBe(0)
  })

  test('does not stand between a worker killed in the middle of a task and its rescue', async () => {
    const work = await queue.work(['--concurrency', '2'], { url: session.through() })
    const id = await queue.enqueue('insert into ledger select 1 from pg_sleep(1)')
    const { pid } = await holderOf(queue, id)
    process.kill(pid, 'SIGKILL')
    const killedAt = performance.now()
    await waitFor('the second run', () => eventsOf(work, 'claimed').length === 2)
    process.stdout.write(
      `kill -9 of a worker behind a pooler to the second run: ${Math.round(performance.now() - killedAt)} ms\n`,
    )
    expect(await queue.reaches(id, 'finished')).toMatchObject({ rescues: 1, retry_count: 0 })
    expect(await entries()).toBe(1)
    expect(await stop(work)).toBe(0)
  })

  test('gives the backend of a worker that died idle to nobody, so that its end can be seen', async () => {
    const work = await queue.work(['--concurrency', '1'], { url: session.through() })
    const find = () =>
      queue.db.owner.query<{ pid: number; backend_pid: number }>(
        'select pid, backend_pid from background_queue.workers',
      )
    for (let n = 2; n <= 4; n++) {
      const [worker] = await find()
      const sleeper = `select count(*) from pg_stat_activity where pid = ${worker!.backend_pid} and state = 'idle'
        and state_change < clock_timestamp() - interval '200 ms'`
      await waitFor('it to sleep', async () => (await queue.count(sleeper)) === 1)
      process.kill(worker!.pid, 'SIGKILL')
      await waitFor('a replacement', () => workerPids(work).length === n)
      const [next] = await waitFor('the registry to tell who lives', async () => {
        const rows = await find()
        return rows.length === 1 && rows[0]!.pid !== worker!.pid && rows
      })
      expect(next!.backend_pid).not.toBe(worker!.backend_pid)
    }
    expect(eventsOf(work, 'worker_gone')).toHaveLength(3)
    expect(await stop(work)).toBe(0)
  })

  test('that hands the backend of a dead worker on to the next all the same tells by it that the first is gone', async () => {
    const { db } = queue
    const { supervisor } = await db.owner.one<{ supervisor: bigint }>(
      `select background_queue.register_supervisor('here', 1, 'test', 1, null, null) as supervisor`,
    )
    const register = async (secret: string) =>
      (
        await db.owner.one<{ id: bigint }>(
          `select background_queue.register_worker($3, 'here', 1, $1, false, a.pid, a.backend_start,
             pg_postmaster_start_time(), $2) as id from pg_stat_activity a where a.pid = pg_backend_pid()`,
          [OWNER, secret, supervisor],
        )
      ).id
    const bury = async (id: bigint) =>
      (
        await db.owner.one<{ rescued: bigint[] | null }>(
          `select background_queue.bury_worker($1, true, 'it was killed') as rescued`,
          [id],
        )
      ).rescued
    const first = await register('one')
    const task = await queue.enqueue('select 1')
    await db.owner.query(`select background_queue.claim($1, 'one')`, [first])
    expect(await bury(first)).toBeNull()
    const second = await register('two')
    expect(await bury(first)).toEqual([task])
    expect(await bury(second)).toBeNull()
  })

  test('gives the backend of a supervisor that was killed to nobody', async () => {
    const work = await queue.work(['--concurrency', '1'], { url: session.through() })
    work.child.kill('SIGKILL')
    await work.exit()
    await waitFor('the worker to be gone', () => workerPids(work).every((pid) => !isAlive(pid)))
    const again = await pgbq(['ensure-workers', '--json'], { url: session.through() })
    expect(again.json).toMatchObject({ started: 0 })
    await waitFor(
      'the registry to be empty',
      async () =>
        (await pgbq(['calibrate', '--json'], { url: session.through() })).code === 0 &&
        (await queue.count('select count(*) from background_queue.supervisors')) === 0,
    )
  })

  test('may be killed and come back while tasks run: nothing is lost and nothing is done twice', async () => {
    const work = await queue.work(['--concurrency', '4'], { url: session.through() })
    const ids = await queue.enqueueMany(
      Array.from({ length: 60 }, (_, n) => `insert into ledger select ${n} from pg_sleep(0.1)`),
    )
    for (const least of [8, 24]) {
      await waitFor('some to be done', async () => (await entries()) >= least)
      await session.pooler.kill()
      await waitFor(
        'the loss to be noticed',
        () => eventsOf(work, 'database_lost').length > (least === 8 ? 0 : 1),
      )
      await session.pooler.start()
    }
    await waitFor(
      'all to be finished',
      async () =>
        (await queue.count(`select count(*) from pg_background_tasks where state = 'finished'`)) === 60,
    )
    expect(await entries()).toBe(ids.length)
    expect(await queue.count('select count(distinct n) from ledger')).toBe(ids.length)
    expect(await queue.count('select max(retry_count) as count from pg_background_tasks')).toBe(0)
    expect(await queue.count('select max(worker_deaths) as count from pg_background_tasks')).toBe(0)
    expect(await stop(work)).toBe(0)
  })

  test('with too few server connections ends pgbq work with an error that names the reason', async () => {
    const pooler = await own('session', { default_pool_size: 2 })
    const work = await pgbq(['work', '--concurrency', '3'], { url: pooler.through(queue.db.url()) })
    expect(work.code).toBe(1)
    expect(work.stderr).toMatch(/without a free server connection\nTry this: .*pool_size/)
    await waitFor('its sessions to end', async () => (await sessions(queue.db)).length === 0)
  })

  test('that refuses the options of the user says so', async () => {
    const result = await pgbq(['status', '--json'], {
      url: session.through(),
      env: { PGOPTIONS: '-c search_path=x' },
    })
    expect(result.code).toBe(1)
    expect(result.json.error).toMatchObject({
      code: 'OPTIONS_REFUSED',
      hint: expect.stringContaining('PGOPTIONS'),
    })
  })
})

describe('a pooler in transaction mode', () => {
  const pool = usePooler('transaction')
  const run = (...args: string[]) => pgbq([...args, '--json'], { url: pool.through() })

  test.each(['transaction', 'statement'] as const)(
    'is refused by what needs a session of its own, also where it calls the mode %s',
    async (mode) => {
      const url = mode === 'statement' ? (await own(mode)).through(queue.db.url()) : pool.through()
      for (const args of [['work', '--drain', '--warm', '1'], ['ensure-workers']]) {
        const { code, json } = await pgbq([...args, '--json'], { url })
        expect(code).toBe(1)
        expect(json.error).toMatchObject({
          code: 'TRANSACTION_POOLER',
          message: expect.stringContaining('LISTEN'),
          hint: expect.stringContaining('--direct-url'),
        })
      }
      expect(await queue.count('select count(*) from background_queue.supervisors')).toBe(0)
    },
  )

  test('for one role alone keeps that role from being served, and says why', async () => {
    await queue.db.owner.query('select background_queue.grant_enqueue($1)', [ALICE])
    const alice = await queue.db.session(ALICE)
    const pooler = await own('session', {}, `${ALICE} = pool_mode=transaction`)
    const work = await queue.work(['--concurrency', '2'], { url: pooler.through(queue.db.url()) })
    const id = await queue.enqueue('select 1', {}, alice)
    const { reason } = await work.event((e) => e.event === 'role_refused')
    expect(reason).toMatch(/pooler in transaction mode/)
    expect((await queue.task(id)).state).toBe('pending')
    expect(await stop(work)).toBe(0)
  })

  test('serves enqueue, status, config and calibrate, with instants in UTC whatever the zone of others', async () => {
    await queue.db.admin.query(`alter database ${queue.db.name} set timezone = 'Asia/Tokyo'`)
    onTestFinished(
      async () => void (await queue.db.admin.query(`alter database ${queue.db.name} reset timezone`)),
    )
    const at = '2031-02-03T04:05:06Z'
    const { id } = (await run('enqueue', 'select 1', '--run-at', at)).json
    const { json: task } = await run('status', String(id))
    expect(task).toMatchObject({ id, state: 'pending', run_at: at })
    expect(task.joined_at).toMatch(/Z$/)
    expect(Math.abs(Date.parse(task.joined_at) - Date.now())).toBeLessThan(60_000)
    const file = join(await mkdtemp(join(tmpdir(), 'pgbq-file-')), 'tasks.sql')
    onTestFinished(() => rm(dirname(file), { recursive: true }))
    await writeFile(file, 'select 1\nselect 2\nselect 3\n')
    const many = await run('enqueue', '--file', file)
    expect(many.json.ids.count).toBe(3)
    expect((await run('config', 'set', 'retry_count', '4')).code).toBe(0)
    expect((await run('config', 'get', 'retry_count')).stdout).toMatch(/4/)
    expect((await run('calibrate')).json).toMatchObject({ before: 0, after: 0 })
    const work = await queue.work(['--concurrency', '1'])
    const waited = await run('enqueue', 'select 1', '--wait')
    expect(waited.json).toMatchObject({ state: 'finished' })
    expect((await run('status')).json.states).toMatchObject({ finished: 4, pending: 1 })
    expect(await stop(work)).toBe(0)
  })

  test('is passed by work and ensure-workers where --direct-url or PGBQ_DIRECT_URL names the server itself', async () => {
    const { id } = (await run('enqueue', 'insert into ledger values (1)')).json
    const drained = await pgbq(['work', '--drain', '--warm', '1', '--direct-url', queue.db.url()], {
      url: pool.through(),
    })
    expect(drained.code).toBe(0)
    await queue.reaches(BigInt(id), 'finished')
    const again = await queue.enqueue('insert into ledger values (2)')
    const state = await mkdtemp(join(tmpdir(), 'pgbq-state-'))
    onTestFinished(() => rm(state, { recursive: true }))
    const flags = ['--idle-timeout', '1s', '--log-file', join(state, 'log'), '--json']
    const env = { PGBQ_DIRECT_URL: queue.db.url() }
    const ensured = await pgbq(['ensure-workers', ...flags], { url: pool.through(), env })
    expect(ensured.json).toMatchObject({ due: 1, started: 1 })
    await queue.reaches(again, 'finished')
    await waitFor('it to leave', async () => (await sessions(queue.db)).length === 0)
    expect(await entries()).toBe(2)
  })

  test('may stand in the configuration file beside the server itself: each command takes what it needs', async () => {
    const path = join(await mkdtemp(join(tmpdir(), 'pgbq-file-')), '.pgbqrc.json')
    onTestFinished(() => rm(dirname(path), { recursive: true }))
    await writeFile(path, JSON.stringify({ database_url: pool.through(), direct_url: queue.db.url() }))
    const call = (...args: string[]) => pgbq([...args, '--config', path, '--json'])
    const { id } = (await call('enqueue', 'insert into ledger values (3)')).json
    const work = await queue.work(['--config', path], { url: undefined })
    await queue.reaches(BigInt(id), 'finished')
    expect((await call('status')).json.states).toMatchObject({ finished: 1 })
    expect(await stop(work)).toBe(0)
    // what is named in front of the file is meant
    const named = await pgbq(['work', '--config', path, '--drain', '--json'], { url: pool.through() })
    expect(named.json.error.code).toBe('TRANSACTION_POOLER')
  })

  test('serves install, in one transaction', async () => {
    const name = `${queue.db.name}_new`
    await queue.db.admin.query(`create database ${name} owner ${OWNER}`)
    onTestFinished(async () => void (await queue.db.admin.query(`drop database ${name} with (force)`)))
    const url = new URL(pool.through())
    url.pathname = `/${name}`
    const installed = await pgbq(['install', '--json'], { url: url.href })
    expect(installed.json).toMatchObject({ from: null })
    expect((await pgbq(['install', '--json'], { url: url.href })).json).toMatchObject({ applied: [] })
    expect((await pgbq(['enqueue', 'select 1', '--json'], { url: url.href })).json).toEqual({ id: 1 })
  })
})
