import { mkdtempSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, test, vi } from 'vitest'
import { pgbq } from '../support/cli.js'
import { useDatabase } from '../support/database.js'
import { PASSWORD } from '../support/names.js'
import { waitFor } from '../support/wait.js'

vi.setConfig({ testTimeout: 90_000 })

const db = useDatabase()
/** All that cron gives. */
const cron = () => ({
  HOME: mkdtempSync(join(tmpdir(), 'pgbq-cron-')),
  PATH: '/usr/bin:/bin',
  LOGNAME: 'root',
  SHELL: '/bin/sh',
  USER: undefined,
  NO_COLOR: undefined,
  PGPASSFILE: undefined,
})
const ensure = (env: ReturnType<typeof cron>, ...args: string[]) =>
  pgbq(['ensure-workers', ...args], { url: db.url(), env, cwd: '/' })
const supervisors = () => db.owner.query<{ pid: number }>('select pid from background_queue.supervisors')

const isAlive = (pid: number): boolean => {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

afterEach(async () => {
  for (const { pid } of await supervisors()) {
    process.kill(pid, 'SIGTERM')
    await waitFor('the supervisor to leave', () => !isAlive(pid))
  }
})

test('starts nothing where nothing is due', async () => {
  const { code, stdout, stderr } = await ensure(cron())
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  expect(stdout).toMatch(/^0 due, 0 of \d+ running: nothing to start\n$/)
  expect((await ensure(cron(), '--json')).json).toEqual({
    due: 0,
    active: 0,
    limit: expect.any(Number),
    started: 0,
  })
})

test("two at the same moment, from cron's bare environment, start one supervisor", async () => {
  const { json: task } = await pgbq(['enqueue', 'create table done as select 1', '--json'], { url: db.url() })
  const env = cron()
  const both = await Promise.all([ensure(env, '--json'), ensure(env, '--json')])
  expect(both.map((r) => [r.code, r.stderr])).toEqual([
    [0, ''],
    [0, ''],
  ])
  expect(both.map((r) => r.json.started).sort()).toEqual([0, 1])
  const [supervisor, ...others] = await supervisors()
  expect(others).toEqual([])
  await waitFor('the task to finish', async () => {
    const { state } = await db.owner.one('select state::text from pg_background_tasks where id = $1', [
      task.id,
    ])
    return state === 'finished'
  })
  const told = readFileSync(`/proc/${supervisor!.pid}/cmdline`, 'utf8')
  expect(told).toContain('work')
  expect(told).not.toContain(PASSWORD)
})

test('names its log file, wakes a living supervisor, and keeps the log below its cap', async () => {
  const env = cron()
  const log = join(env.HOME, 'work.log')
  writeFileSync(log, `${'x'.repeat(9_999_999)}\n`)
  await pgbq(['enqueue', 'select pg_sleep(600)'], { url: db.url() })
  const { stdout } = await ensure(env, '--log-file', log, '--concurrency', '1')
  expect(stdout).toMatch(/^1 due, 0 of \d+ running: started a supervisor, log: /)
  expect(stdout.trim().endsWith(log)).toBe(true)
  await waitFor('the log', () => readFileSync(log, 'utf8').includes('ready: 1 slot'))
  expect(statSync(`${log}.1`).size).toBe(10_000_000)
  expect(readFileSync(log, 'utf8')).not.toContain(PASSWORD)
  await pgbq(['enqueue', 'select 1'], { url: db.url() })
  expect((await ensure(env)).stdout).toMatch(/^1 due, 1 of \d+ running: woke the supervisor\n$/)
  await db.owner.query(
    `select pg_background_cancel(id) from pg_background_tasks where state in ('pending', 'running')`,
  )
})
