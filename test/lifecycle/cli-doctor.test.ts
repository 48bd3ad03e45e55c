import { beforeEach, expect, inject, onTestFinished, test } from 'vitest'
import { pgbq } from '../support/cli.js'
import { OWNER, PASSWORD, withDatabase, withUser } from '../support/names.js'
import { findPgbouncer, startPooler } from '../support/pooler.js'
import { stop, useQueue, useRole } from './work-support.js'

const queue = useQueue()
const role = useRole(queue)
const NAMES = [
  ...['connection', 'server', 'pooler', 'listen', 'clock', 'schema', 'functions', 'privileges', 'role'],
  ...['supervisors', 'unserved', 'orphans', 'connections', 'settings', 'xmin', 'dead-rows', 'bloat'],
  ...['indexes', 'retention', 'pg_cron', 'crontab'],
]

interface Line {
  name: string
  level: string
  message: string
  fix: string | null
}

async function doctor(url: string | undefined, ...args: string[]) {
  const { code, stderr, json } = await pgbq(['doctor', '--json', ...args], { url })
  expect(stderr).toBe('')
  expect(Object.keys(json)).toEqual(['checks'])
  for (const check of json.checks) expect(Object.keys(check)).toEqual(['name', 'level', 'message', 'fix'])
  return { code, checks: json.checks as Line[], last: json.checks.at(-1) as Line }
}

test('a queue that is worked is well: each check is ok, and the exit code 0', async () => {
  const work = await queue.work(['--concurrency', '2'])
  const { code, checks } = await doctor(queue.db.url())
  expect(checks.map((c) => c.name)).toEqual(NAMES)
  expect(checks.filter((c) => c.level !== 'ok' || c.fix !== null)).toEqual([])
  expect(code).toBe(0)
  const { stdout } = await pgbq(['doctor'], { url: queue.db.url() })
  expect(stdout).toMatch(/^ok {7}connection {3}database ".+" at .+, a round trip takes [\d.]+ ms\n/)
  expect(stdout).toMatch(/\n\n21 ok, 0 warnings, 0 problems\n$/)
  expect(await stop(work)).toBe(0)
})

test('a warning alone ends with 0, a problem with 1, each with its way out', async () => {
  expect((await doctor(queue.db.url())).code).toBe(0)
  await queue.enqueue('select 1')
  const { code, stdout, stderr } = await pgbq(['doctor'], { url: queue.db.url() })
  expect({ code, stderr }).toEqual({ code: 1, stderr: '' })
  expect(stdout).toContain(
    'problem  supervisors  Tasks are due, and no supervisor is alive\n         Try this: pgbq work\n',
  )
  expect(stdout).toMatch(/\n\n20 ok, 0 warnings, 1 problem \(supervisors\)\n$/)
})

test('a server that does not answer is the one problem', async () => {
  const { code, checks } = await doctor('postgresql://nobody@127.0.0.1:1/none')
  expect(code).toBe(1)
  expect(checks).toEqual([
    {
      name: 'connection',
      level: 'problem',
      message: expect.stringContaining('No server answers'),
      fix: expect.any(String),
    },
  ])
})

test('a database without the queue is told to get it', async () => {
  const { code, last } = await doctor(withUser(withDatabase(inject('serverUrl'), 'postgres'), OWNER))
  expect(code).toBe(1)
  expect(last).toMatchObject({ name: 'schema', level: 'problem', fix: 'pgbq install' })
})

test('a copy of a database is told apart', async () => {
  await queue.db.owner.query('update background_queue.queue set system_identifier = 1 - system_identifier')
  onTestFinished(
    async () =>
      void (await queue.db.owner.query(
        'update background_queue.queue set system_identifier = 1 - system_identifier',
      )),
  )
  const { code, last } = await doctor(queue.db.url())
  expect(code).toBe(1)
  expect(last).toMatchObject({ name: 'schema', fix: expect.stringContaining('pgbq calibrate --adopt') })
})

test('a role that may only enqueue is sent to the owner', async () => {
  const { code, last } = await doctor(queue.db.url(role.name))
  expect(code).toBe(1)
  expect(last).toMatchObject({
    name: 'schema',
    level: 'problem',
    message: `"${role.name}" does not own the queue; the rest is for "${OWNER}" to look at`,
  })
})

test('wrong flags are no problem of the queue: exit 2', async () => {
  const { code, json } = await pgbq(['doctor', '--json', '--fast'], { url: queue.db.url() })
  expect(code).toBe(2)
  expect(json.error.code).toBe('USAGE')
})

beforeEach((ctx) => {
  if (ctx.task.name.startsWith('a pooler') && !findPgbouncer()) ctx.skip('there is no program "pgbouncer"')
})

test.each([
  ['session', 'ok', /session mode/],
  ['transaction', 'problem', /transaction mode/],
] as const)('a pooler in %s mode is recognised: %s', async (mode, level, message) => {
  const users = [{ name: OWNER, password: PASSWORD }]
  const pooler = await startPooler({ serverUrl: inject('serverUrl'), mode, users })
  onTestFinished(() => pooler.stop())
  const { checks } = await doctor(pooler.through(queue.db.url()))
  expect(checks.find((c) => c.name === 'pooler')).toMatchObject({
    level,
    message: expect.stringMatching(message),
  })
  expect(checks.some((c) => c.name === 'listen')).toBe(mode === 'session')
})
