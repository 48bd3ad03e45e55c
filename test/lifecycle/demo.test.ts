import { type ChildProcess, spawn } from 'node:child_process'
import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { afterAll, expect, test, vi } from 'vitest'
import { findProcess } from '../../src/embedded/process-table.js'
import { destroyEmbedded, embeddedStatus } from '../../src/embedded/server.js'
import { Database } from '../../src/engine/database/database.js'
import { resolveTarget } from '../../src/engine/database/target.js'
import { pgbq } from '../support/cli.js'
import { withDatabase } from '../support/names.js'
import { waitFor } from '../support/wait.js'

vi.setConfig({ testTimeout: 60_000 })

const RUN = fileURLToPath(new URL('../../bin/run.js', import.meta.url))
const home = mkdtempSync(join(tmpdir(), 'pgbq-demo-'))
chmodSync(home, 0o755) // root's server runs as another user, who has to get in
const env = { PGBQ_EMBEDDED_HOME: home, DATABASE_URL: 'postgresql://nobody@localhost:1/never' }

afterAll(async () => {
  await destroyEmbedded({ home })
  rmSync(home, { recursive: true })
})

interface RunningDemo {
  child: ChildProcess
  stdout: Promise<string>
  exit: Promise<number | null>
  /** resolves once the demo has told of this on stderr */
  told(what: string): Promise<unknown>
}

function startDemo(): RunningDemo {
  const child = spawn(process.execPath, [RUN, 'demo', '--json'], {
    env: { PATH: process.env.PATH, HOME: home, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let stderr = ''
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    stderr += chunk
  })
  return {
    child,
    stdout: text(child.stdout),
    exit: new Promise((resolve) => child.on('close', resolve)),
    told: (what) => waitFor(`the demo to tell of "${what}"`, () => stderr.includes(what)),
  }
}

async function onDemoDatabase<T>(look: (database: Database) => Promise<T>): Promise<T> {
  const { url } = await embeddedStatus({ home })
  const database = await Database.connect(resolveTarget(withDatabase(url!, 'pgbq_demo')), {
    applicationName: 'pgbq tests',
  })
  return look(database).finally(() => database.close())
}

const SESSIONS = `select from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()
  and backend_type = 'client backend'`

test('sets up the embedded server, works off every task and finds every effect', async () => {
  const { code, stdout, stderr } = await pgbq(['demo'], { env })
  expect(stderr).toContain('Starting PostgreSQL')
  expect(stderr).toContain('The carrier does not answer; again in 2 s')
  expect(stderr).not.toContain('\x1b')
  expect(stdout.match(/✓/g), stdout).toHaveLength(10)
  expect(stdout).not.toContain('✗')
  expect(stdout).toMatch(/^all +0 +0 +0 +1 +56 +0$/m)
  expect(code).toBe(0)
})

test('begins anew, refuses a second demo meanwhile, and exits 1 when an effect is not as it should be', async () => {
  const first = startDemo()
  await first.told('20,000 customers')
  const second = await pgbq(['demo', '--json'], { env })
  expect(second.code).toBe(1)
  expect(second.json.error).toMatchObject({ code: 'DEMO_RUNNING' })

  await first.told('again in 2 s')
  await onDemoDatabase((database) => database.query('insert into shop.deliveries values (4711)'))
  const { tasks, checks, duration_ms, status } = JSON.parse(await first.stdout)
  expect(await first.exit).toBe(1)
  expect(checks).toHaveLength(10)
  expect(checks.filter((check: { ok: boolean }) => !check.ok)).toEqual([
    { name: 'delivery', ok: false, message: expect.stringContaining('2 delivery') },
  ])
  expect(tasks).toHaveLength(57)
  expect(tasks[0]).toMatchObject({ id: 1, topic: 'backfill', state: 'finished', retry_count: 2 })
  expect(status.states).toMatchObject({ finished: 56, failed: 1, pending: 0 })
  expect(duration_ms).toBeLessThan(60_000)
})

test('a signal ends it cleanly: no process, no session, no running task', async () => {
  const demo = startDemo()
  await demo.told('again in 2 s')
  const workers = await onDemoDatabase((database) =>
    database.query<{ pid: number }>('select pid from background_queue.workers'),
  )
  expect(workers.length).toBeGreaterThan(0)
  demo.child.kill('SIGINT')
  expect(JSON.parse(await demo.stdout).error).toMatchObject({ code: 'INTERRUPTED' })
  expect(await demo.exit).toBe(1)
  expect(workers.filter(({ pid }) => findProcess(pid) !== undefined)).toEqual([])
  await onDemoDatabase(async (database) => {
    await waitFor('its sessions to end', async () => (await database.query(SESSIONS)).length === 0)
    const running = `select from pg_background_tasks where state = 'running'`
    expect(await database.query(running)).toEqual([])
  })
})
