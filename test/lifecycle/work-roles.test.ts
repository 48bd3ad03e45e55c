import { beforeAll, describe, expect, inject, test } from 'vitest'
import { pgbq } from '../support/cli.js'
import { OWNER, withDatabase } from '../support/names.js'
import { waitFor } from '../support/wait.js'
import { eventsOf, sessions, stop, useQueue, useRole } from './work-support.js'

const queue = useQueue()
const alice = useRole(queue)
const bob = useRole(queue)
const WHO = 'insert into who values (current_user, session_user)'

beforeAll(async () => {
  await queue.db.owner.query(`create table who (c name, s name); grant select, insert on who to public`)
})

const who = async () => {
  const rows = await queue.db.owner.query<{ c: string; s: string }>('delete from who returning c, s')
  return rows.map((r) => `${r.c}/${r.s}`).sort()
}

describe('by login', () => {
  test('runs each task in a session of the role that enqueued it, in as many slots as there are', async () => {
    const work = await queue.work(['--concurrency', '1'])
    const ids = [
      await queue.enqueue(WHO, {}, alice.session),
      await queue.enqueue(WHO),
      await queue.enqueue(WHO, {}, bob.session),
    ]
    for (const id of ids) await queue.reaches(id, 'finished')
    expect(new Set(await who())).toEqual(
      new Set([alice, bob, { name: OWNER }].map(({ name }) => `${name}/${name}`)),
    )
    expect(await stop(work)).toBe(0)
  })

  test("becomes ready, and drains, where the first task is another role's", async () => {
    const id = await queue.enqueue(WHO, {}, alice.session)
    const work = await queue.work(['--concurrency', '1', '--drain'])
    expect(await work.exit()).toBe(0)
    expect((await queue.task(id)).state).toBe('finished')
    expect(await who()).toEqual([`${alice.name}/${alice.name}`])
  })

  test('refuses a role that may not log in, says so once, and serves the others', async () => {
    const work = await queue.work(['--concurrency', '2'])
    await queue.db.admin.query(`alter role ${bob.name} nologin`)
    try {
      const stranded = await queue.enqueue(WHO, {}, bob.session)
      const sound = [await queue.enqueue(WHO), await queue.enqueue(WHO, {}, alice.session)]
      for (const id of sound) await queue.reaches(id, 'finished')
      const event = await work.event((e) => e.event === 'role_refused')
      expect(event).toMatchObject({ role: bob.name, reason: expect.stringMatching(/log in/) })
      for (let n = 0; n < 3; n++) await queue.reaches(await queue.enqueue(WHO), 'finished')
      expect(eventsOf(work, 'role_refused')).toHaveLength(1)
      expect((await queue.task(stranded)).state).toBe('pending')
      const status = await pgbq(['status'], { url: queue.db.url() })
      expect(status.stdout + status.stderr).toContain(bob.name)
    } finally {
      await queue.db.admin.query(`alter role ${bob.name} login`)
      await who()
    }
    expect(await stop(work)).toBe(0)
  })

  test('refuses a role that may not connect to the database', async () => {
    await queue.db.owner.query(`revoke connect on database ${queue.db.name} from public`)
    const work = await queue.work(['--concurrency', '2'])
    const id = await queue.enqueue(WHO, {}, bob.session)
    await work.event((e) => e.event === 'role_refused' && e.role === bob.name)
    expect((await queue.task(id)).state).toBe('pending')
    await queue.db.owner.query(`grant connect on database ${queue.db.name} to public`)
    expect(await stop(work)).toBe(0)
  })

  test("of a superuser never runs another role's task as superuser", async () => {
    const work = await queue.work(['--concurrency', '2'], {
      url: withDatabase(inject('serverUrl'), queue.db.name),
    })
    const superuser = (await queue.db.admin.one<{ me: string }>('select current_user::text as me')).me
    const grabs = [
      `alter role ${alice.name} superuser`,
      `reset role; alter role ${alice.name} superuser`,
      `reset session authorization; alter role ${alice.name} superuser`,
      `set session authorization "${superuser}"`,
      `set role "${superuser}"`,
      `do $$ begin commit; reset session authorization; execute 'alter role ${alice.name} superuser'; end $$`,
      `copy (select 1) to program 'true'`,
      `select lo_import('/etc/passwd')`,
      'alter system reset all',
      `select background_queue.calibrate()`,
    ]
    const grabIds = await Promise.all(grabs.map((sql) => queue.enqueue(sql, {}, alice.session)))
    const ids = [
      await queue.enqueue(WHO, {}, alice.session),
      await queue.enqueue(`do $$ begin ${WHO}; commit; end $$`, {}, alice.session),
    ]
    for (const id of ids) await queue.reaches(id, 'finished')
    for (const id of grabIds) expect((await queue.reaches(id, 'failed')).errors).toMatch(/42501/)
    expect(await who()).toEqual([`${alice.name}/${alice.name}`, `${alice.name}/${alice.name}`])
    expect((await sessions(queue.db)).filter((s) => s.usename === alice.name)).toHaveLength(1)
    expect(await stop(work)).toBe(0)
  })

  test("starts the task of a role that waited for a slot of its topic when another role's task ends", async () => {
    await queue.set('max_parallel_running_tasks_count', '1', 'shared')
    const work = await queue.work(['--concurrency', '2'])
    await queue.reaches(await queue.enqueue(WHO, { topic: 'shared' }, alice.session), 'finished')
    const first = await queue.enqueue('select pg_sleep(0.7)', { topic: 'shared' })
    await queue.reaches(first, 'running')
    const second = await queue.enqueue('select 1', { topic: 'shared' }, alice.session)
    const after = await queue.reaches(second, 'finished')
    const before = await queue.task(first)
    const waited = Date.parse(after.started_at!) - Date.parse(before.closed_at!)
    process.stdout.write(`another role's task took the topic's slot after ${waited} ms\n`)
    expect(waited).toBeLessThan(600)
    await who()
    expect(await stop(work)).toBe(0)
  })
})

describe('--run-as set-role', () => {
  test("runs tasks of several roles in workers that log in as the supervisor's role", async () => {
    await queue.db.admin.query(`grant ${alice.name}, ${bob.name} to ${OWNER}`)
    const work = await queue.work(['--concurrency', '2', '--warm', '0', '--run-as', 'set-role'])
    const ids = [
      await queue.enqueue(WHO, {}, alice.session),
      await queue.enqueue(WHO, {}, bob.session),
      await queue.enqueue(WHO),
    ]
    for (const id of ids) await queue.reaches(id, 'finished')
    expect(new Set(await who())).toEqual(
      new Set([alice, bob, { name: OWNER }].map(({ name }) => `${name}/${OWNER}`)),
    )
    expect(new Set((await sessions(queue.db)).map((s) => s.usename))).toEqual(new Set([OWNER]))
    expect(await stop(work)).toBe(0)
  })

  test('keeps the role of a task that has to run outside a transaction', async () => {
    await queue.db.admin.query(`grant ${alice.name}, ${bob.name} to ${OWNER}`)
    const work = await queue.work(['--concurrency', '1', '--run-as', 'set-role'])
    const id = await queue.enqueue(`do $$ begin ${WHO}; commit; end $$`, {}, alice.session)
    await queue.reaches(id, 'finished')
    expect(await who()).toEqual([`${alice.name}/${OWNER}`])
    expect(await stop(work)).toBe(0)
    await queue.db.admin.query(`revoke ${alice.name}, ${bob.name} from ${OWNER}`)
  })
})

describe('a worker that cannot claim', () => {
  test('is not started again and again without a pause', async () => {
    const work = await queue.work(['--concurrency', '2'])
    const { claim } = await queue.db.owner.one<{ claim: string }>(
      `select pg_get_functiondef('background_queue.claim(bigint, text)'::regprocedure) as claim`,
    )
    // sessions that are open call it by its OID, whatever its name
    await queue.db.owner.query(claim.replace(/\nbegin\n/, `\nbegin\n  raise exception 'out of order';\n`))
    await queue.enqueue('select 1')
    await waitFor('a few to have left', () => eventsOf(work, 'worker_gone').length >= 4)
    await queue.db.owner.query('select pg_sleep(2)')
    const gone = eventsOf(work, 'worker_gone').length
    process.stdout.write(`${gone} workers left in about 2 s\n`)
    expect(gone).toBeLessThan(16)
    await queue.db.owner.query(claim)
    expect(await stop(work)).toBe(0)
  })
})
