import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, expect, inject, onTestFinished, test, vi } from 'vitest'
import type { Database } from '../../src/engine/database/database.js'
import { pgbq, type RunningWork, startWork } from '../support/cli.js'
import { useDatabase } from '../support/database.js'
import { OWNER, PASSWORD, withUser } from '../support/names.js'
import { waitFor } from '../support/wait.js'
import { eventsOf, isAlive, stop, type TaskRow, workerPids } from './work-support.js'

/** A role with what managed servers give: a login, and a database that is its own. Nothing here needs more. */
vi.setConfig({ testTimeout: 60_000 })

const db = useDatabase({ isEmpty: true })
const MANAGED = `pgbq_test_${randomBytes(6).toString('hex')}`
/** Another one whose tasks it runs, and of which it is no member. */
const APP = `pgbq_test_${randomBytes(6).toString('hex')}`

beforeAll(async () => {
  for (const role of [MANAGED, APP]) await db.admin.query(`create role ${role} login password '${PASSWORD}'`)
  await db.admin.query(`alter database ${db.name} owner to ${MANAGED};
    revoke create on schema public from public; grant usage, create on schema public to ${MANAGED}`)
})
afterAll(async () => {
  await db.admin.query(`alter database ${db.name} owner to ${OWNER};
    drop owned by ${MANAGED}, ${APP} cascade; drop role ${APP}, ${MANAGED}`)
})

let managed: Database
let app: Database
beforeAll(async () => {
  managed = await db.session(MANAGED)
  app = await db.session(APP)
})

const cli = async (args: string[], role = MANAGED) => {
  const result = await pgbq(args, { url: db.url(role) })
  expect({ args, code: result.code, stderr: result.stderr }).toMatchObject({ args, code: 0 })
  return result
}
const json = async (args: string[], role = MANAGED) => (await cli([...args, '--json'], role)).json
const enqueue = async (sql: string, by: Database, options = {}) =>
  (
    await by.one<{ id: bigint }>('select pg_background_enqueue($1, null, $2) as id', [
      sql,
      JSON.stringify(options),
    ])
  ).id
const task = (id: bigint) => managed.one<TaskRow>('select * from pg_background_tasks where id = $1', [id])
const reaches = (id: bigint, state: string) =>
  waitFor(`task ${id} to be ${state}`, async () => {
    const row = await task(id)
    return row.state === state && row
  })

async function startWorking(...args: string[]): Promise<RunningWork> {
  const work = await startWork(['--concurrency', '3', ...args], { url: db.url(MANAGED) })
  onTestFinished(async () => {
    for (const pid of [work.pid, ...workerPids(work)])
      if (isAlive(pid)) for (const signal of ['SIGCONT', 'SIGKILL'] as const) process.kill(pid, signal)
    await waitFor('no worker to be left', () => !workerPids(work).some(isAlive))
  })
  return work
}

/** The process and the backend of a task that runs its SQL. */
const holderOf = (id: bigint) =>
  waitFor(`task ${id} to run in a backend`, async () => {
    const [row] = await db.admin.query<{ pid: number; backend_pid: number }>(
      `select w.pid, w.backend_pid from pg_background_tasks t join background_queue.workers w on w.id = t.worker_id
       join pg_stat_activity a on a.pid = w.backend_pid and a.query like '%pg_sleep%'
       where t.id = $1 and t.state = 'running'`,
      [id],
    )
    return row
  })

test('the role has no right that a managed server would keep, and may end no session of another', async () => {
  const { flags } = await db.admin.one<{ flags: unknown }>(
    `select to_jsonb(array[rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls]) as flags
     from pg_roles where rolname = $1`,
    [MANAGED],
  )
  expect(flags).toEqual([false, false, false, false, false])
  const groups = await managed.query(
    // the owner of each database is a member of pg_database_owner there, from 14 on
    `select rolname from pg_roles where rolname not in (current_user, 'pg_database_owner') and pg_has_role(oid, 'member')`,
  )
  expect(groups).toEqual([])
  const { pid } = await app.one<{ pid: number }>('select pg_backend_pid() as pid')
  const seen = await managed.one(
    'select query, state, backend_start, backend_type from pg_stat_activity where pid = $1',
    [pid],
  )
  expect(seen).toEqual({
    query: '<insufficient privilege>',
    state: null,
    backend_start: null,
    backend_type: null,
  })
  for (const end of ['pg_terminate_backend', 'pg_cancel_backend'])
    await expect(managed.query(`select ${end}($1)`, [pid])).rejects.toMatchObject({ code: '42501' })
})

test('installs, also beside itself, and lets another role enqueue', async () => {
  await Promise.all([cli(['install']), cli(['install'])])
  await cli(['install', '--grant-enqueue', APP])
  await managed.query(`create table ledger (who name); grant insert on ledger to ${APP}`)
})

const EFFECT = 'insert into ledger values (current_user)'
const entries = async () =>
  (await db.admin.query<{ who: string }>('delete from ledger returning who')).map(({ who }) => who).sort()

test("runs its own tasks and the other role's, each in a session of its role", async () => {
  const work = await startWorking()
  const ids = [await enqueue(EFFECT, managed), await enqueue(EFFECT, app)]
  for (const id of ids) await reaches(id, 'finished')
  expect(await entries()).toEqual([MANAGED, APP].sort())
  await reaches(await enqueue('vacuum ledger', managed), 'finished')
  expect(await stop(work)).toBe(0)
})

test('rescues a task of each role whose worker was killed in the middle of it', async () => {
  const work = await startWorking()
  const ids = [
    await enqueue(`${EFFECT}; select pg_sleep(1)`, managed),
    await enqueue(`${EFFECT}; select pg_sleep(1)`, app),
  ]
  for (const id of ids) process.kill((await holderOf(id)).pid, 'SIGKILL')
  for (const id of ids)
    expect(await reaches(id, 'finished')).toMatchObject({ rescues: 1, retry_count: 0, worker_deaths: 1 })
  expect(await entries()).toEqual([MANAGED, APP].sort())
  expect(await stop(work)).toBe(0)
})

test('cancels and times out a task of each role in the database', async () => {
  const work = await startWorking()
  for (const [role, by] of [
    [MANAGED, managed],
    [APP, app],
  ] as const) {
    const id = await enqueue('select pg_sleep(60)', by)
    const { backend_pid } = await holderOf(id)
    await cli(['cancel', String(id), '--wait'], role)
    expect((await task(id)).state).toBe('cancelled')
    const busy = `select from pg_stat_activity where pid = ${backend_pid} and query like '%pg_sleep%' and state = 'active'`
    expect(await db.admin.query(busy)).toEqual([])
    const late = await reaches(
      await enqueue('select pg_sleep(60)', by, { timeout_in_sec: 0.5, max_retries: 0 }),
      'failed',
    )
    expect(late.errors).toMatch(/Timed out after 0.5 s/)
  }
  const ours = await enqueue('select pg_sleep(60)', app)
  await holderOf(ours)
  await cli(['cancel', String(ours), '--wait'])
  expect(await stop(work)).toBe(0)
})

test("rescues the other role's task of a host that was killed, once its backend has ended by itself", async () => {
  const dead = await startWorking()
  const id = await enqueue(`${EFFECT}; select pg_sleep(2)`, app)
  const { pid } = await holderOf(id)
  for (const end of [dead.pid, pid]) process.kill(end, 'SIGKILL')
  const work = await startWorking()
  expect(await reaches(id, 'finished')).toMatchObject({ rescues: 1, retry_count: 0, worker_deaths: 0 })
  expect(await entries()).toEqual([APP])
  expect(await stop(work)).toBe(0)
})

test("cannot take the other role's task from a host that is frozen, and can when it is a member of the role", async () => {
  const frozen = await startWorking()
  const id = await enqueue('select pg_sleep(30)', app)
  const { pid, backend_pid } = await holderOf(id)
  const own = await enqueue('select pg_sleep(30)', managed)
  const { pid: ownPid } = await holderOf(own)
  for (const one of [frozen.pid, pid, ownPid]) process.kill(one, 'SIGSTOP')
  const work = await startWorking()
  await waitFor('its own task to run again', () =>
    eventsOf(work, 'claimed').some((e) => e.task_id === Number(own)),
  )
  const tried = await managed.one('select background_queue.try_terminate($1) as is_done', [backend_pid])
  expect(tried).toEqual({ is_done: false })
  expect(await task(id)).toMatchObject({ state: 'running', rescues: 0 })
  expect(await json(['why', String(id)])).toMatchObject({ state: 'running' })
  await db.admin.query(`grant ${APP} to ${MANAGED}`)
  onTestFinished(async () => void (await db.admin.query(`revoke ${APP} from ${MANAGED}`)))
  await waitFor('the task to run again', () =>
    eventsOf(work, 'claimed').some((e) => e.task_id === Number(id)),
  )
  expect(await task(id)).toMatchObject({ state: 'running', rescues: 1, worker_deaths: 0 })
  await cli(['cancel', String(id), String(own), '--wait'])
  expect(await stop(work)).toBe(0)
})

test('looks, repairs and tidies up with every other command', async () => {
  const work = await startWorking()
  const failed = await reaches(await enqueue('select 1/0', app), 'failed')
  const { checks } = await json(['doctor'])
  expect(checks.filter((c: { level: string }) => c.level !== 'ok')).toEqual([])
  expect(checks.find((c: { name: string }) => c.name === 'xmin').message).toMatch(/cannot be seen without/)
  expect(await json(['calibrate'])).toMatchObject({ after: 0, rescued: [] })
  expect(await json(['ensure-workers'])).toMatchObject({ started: 0 })
  expect(await json(['why', String(failed.id)])).toMatchObject({ reason: 'closed' })
  expect((await json(['status'])).workers.length).toBeGreaterThan(0)
  expect((await cli(['logs', String(failed.id)])).stdout).toContain('division by zero')
  await cli(['config', 'set', 'retry_count', '1', '--topic', 'mail'])
  await cli(['pause', '--topic', 'mail'])
  await cli(['resume', '--topic', 'mail'])
  await cli(['retry', String(failed.id)])
  await reaches(failed.id, 'failed')
  expect(await stop(work)).toBe(0)
})

test('torments itself where it may make databases and roles', async () => {
  await db.admin.query(`alter role ${MANAGED} createdb createrole`)
  onTestFinished(async () => void (await db.admin.query(`alter role ${MANAGED} nocreatedb nocreaterole`)))
  const faults = ['child-kill', 'backend-kill', 'settings'].flatMap((kind) => ['--faults', kind])
  const storm = ['--rounds', '3', '--seed', '3', '--pause', '100ms']
  const url = withUser(inject('serverUrl'), MANAGED)
  const result = await pgbq(['torture', ...faults, ...storm, '--json', '--database-url', url])
  expect(result).toMatchObject({ code: 0 })
  expect(result.json).toMatchObject({ ok: true, injected: 3, broken: [] })
})

test('prunes, and uninstalls without a trace', async () => {
  await cli(['prune', '--older-than', '0s', '--yes'])
  await cli(['uninstall', '--yes'])
  const left = `select to_regclass('public.pg_background_tasks') as t, to_regnamespace('background_queue') as n`
  expect(await db.admin.one(left)).toEqual({ t: null, n: null })
})
