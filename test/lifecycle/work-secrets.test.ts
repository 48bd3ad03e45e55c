import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test, vi } from 'vitest'
import { type CliOptions, pgbq, type RunningWork } from '../support/cli.js'
import { PASSWORD } from '../support/names.js'
import { holderOf, sessions, stop, useQueue, useRole, workerPids } from './work-support.js'

vi.setConfig({ testTimeout: 60_000 })

const queue = useQueue()
const alice = useRole(queue)
const carol = useRole(queue)

const cmdline = (pid: number) => readFileSync(`/proc/${pid}/cmdline`, 'utf8')
const printed = (work: RunningWork) => JSON.stringify(work.events()) + work.stderr()

/** A URL with the password in it, whatever way the server lets the role in. */
const url = () => queue.db.url()

function keywords(): string {
  const { host, port, user, password, database } = queue.db.target().config
  return `host=${host} port=${port} user=${user} password=${password} dbname=${database}`
}

function configFile(): string {
  const folder = mkdtempSync(join(tmpdir(), 'pgbq-secrets-'))
  const path = join(folder, '.pgbqrc.json')
  writeFileSync(path, JSON.stringify({ database_url: url() }), { mode: 0o600 })
  return path
}

describe('no password is shown by pgbq work, nor by ps', () => {
  test.each<[where: string, args: () => string[], options: () => CliOptions]>([
    ['the environment', () => [], () => ({ url: url() })],
    ['--database-url', () => ['--database-url', url()], () => ({ url: undefined })],
    ['--direct-url', () => ['--direct-url', url()], () => ({ url: 'postgresql://nobody@127.0.0.1:1/app' })],
    ['a string of keywords', () => ['--database-url', keywords()], () => ({ url: undefined })],
    ['the configuration file', () => ['--config', configFile()], () => ({ url: undefined })],
  ])('where %s names the server', async (_, args, options) => {
    expect(url()).toContain(PASSWORD)
    const work = await queue.work([...args(), '--concurrency', '2'], options())
    const failing = [await queue.enqueue('select 1 / 0'), await queue.enqueue('select 1', {}, alice.session)]
    await queue.reaches(failing[0]!, 'failed')
    await queue.reaches(failing[1]!, 'finished')
    const pids = [work.pid, ...workerPids(work)]
    expect(pids.length).toBeGreaterThanOrEqual(2)
    for (const pid of pids.filter((p) => p === work.pid || cmdlineExists(p)))
      expect(cmdline(pid)).not.toContain(PASSWORD)
    expect(await stop(work)).toBe(0)
    expect(printed(work)).not.toContain(PASSWORD)
  })

  test.each<[what: string, args: string[], url: string, code: number]>([
    ['a host that does not answer', ['work'], 'postgresql://u:s3cret@127.0.0.1:1/app', 1],
    ['a URL that cannot be read', ['work'], 'postgresql://u:s3cret@host:port:5/app', 2],
    ['a URL of another kind', ['work'], 'mysql://u:s3cret@host/app', 2],
    ['a URL in the place of an argument', ['work', 'postgresql://u:s3cret@host/app'], '', 2],
    [
      'a URL behind a flag that wants something else',
      ['work', '--warm', 'postgresql://u:s3cret@host/app'],
      '',
      2,
    ],
    ['a host of several', ['work'], 'postgresql://u:s3cret@127.0.0.1:1,localhost:1/app', 1],
    ['a password with signs in it', ['work'], 'postgresql://u:a@s3cret:@b@127.0.0.1:1/app', 1],
    ['a string of keywords', ['work'], 'host=127.0.0.1 port=1 user=u password=s3cret dbname=app', 1],
    ['a string of keywords that is wrong', ['work'], "host=h password='a s3cret", 2],
    ['a string of keywords in the place of an argument', ['work', "host=h password='a s3cret'"], '', 2],
    ['a URL with the password behind it', ['work', 'postgresql://host/app?user=u&password=s3cret'], '', 2],
  ])('for %s', async (_, args, given, code) => {
    for (const format of [[], ['--json']]) {
      const result = await pgbq([...args, ...format], { url: given || url() })
      expect(result.code).toBe(code)
      expect(result.stdout + result.stderr).not.toMatch(/s3cret/)
    }
  })
})

function cmdlineExists(pid: number): boolean {
  try {
    return cmdline(pid).length > 0
  } catch {
    return false
  }
}

test('tells of every kind of event without the SQL of a task', async () => {
  const MARK = 'marked_sql'
  await queue.enqueue(`select 1 as ${MARK}`, {}, carol.session)
  await queue.db.admin.query(`alter role ${carol.name} nologin`)
  await queue.db.owner.query(`grant select on background_queue.workers to ${carol.name}`)
  const work = await queue.work(['--concurrency', '2', '--shutdown-timeout', '0s'])
  await work.event((e) => e.event === 'role_refused')
  const ends: [state: string, sql: string, options?: object][] = [
    ['finished', `select '${MARK}'`],
    ['failed', `do $$ begin perform 1 / 0 as ${MARK}; end $$`],
    ['failed', `select 'some text without an end ${MARK}`],
    ['failed', `select 1 as ${MARK}; begin`],
    ['failed', `select 'short ${MARK}`],
    ['retrying', `do $$ begin perform 1 / 0 as ${MARK}; end $$`, { max_retries: 3 }],
  ]
  for (const [state, sql, options] of ends)
    await queue.reaches(await queue.enqueue(sql, { ...options }), state)
  const sleep = () => queue.enqueue(`select pg_sleep(600) as ${MARK}`, { priority: 1 })
  const cancelled = await sleep()
  await holderOf(queue, cancelled)
  await queue.db.owner.query('select pg_background_cancel($1)', [cancelled])
  await queue.reaches(cancelled, 'cancelled')
  const rescued = await sleep()
  process.kill((await holderOf(queue, rescued)).pid, 'SIGKILL')
  await work.event((e) => e.event === 'rescued')
  const [control] = (await sessions(queue.db)).filter((s) => s.application_name.endsWith('supervisor'))
  await queue.db.admin.query('select pg_terminate_backend($1)', [control!.pid])
  await work.event((e) => e.event === 'database_back')
  await holderOf(queue, rescued)
  expect(await stop(work)).toBe(0)
  await queue.db.owner.query(
    `update pg_background_tasks set run_at = now() + interval '1 hour' where state in ('pending', 'retrying')`,
  )
  await queue.db.owner.query(`select background_queue.set_parameter('', 'paused', 'true')`)
  const drain = await queue.work(['--drain', '--warm', '1'])
  expect(await drain.exit()).toBe(0)
  const kinds = new Set([...work.events(), ...drain.events()].map((e) => e.event))
  expect([...kinds].sort()).toEqual(KINDS)
  expect(printed(work) + printed(drain)).not.toContain(MARK)
  const failed = await queue.db.owner.query<{ context: string | null }>(
    `select context from background_queue.attempts where outcome = 'failed' and context is not null`,
  )
  expect(JSON.stringify(failed)).toContain(MARK)
})

/** Every event there is. */
const KINDS = [
  'cancelled',
  'claimed',
  'database_back',
  'database_lost',
  'failed',
  'finished',
  'left',
  'ready',
  'released',
  'rescued',
  'retrying',
  'role_refused',
  'stopped',
  'stopping',
  'warning',
  'worker_gone',
  'worker_started',
]
