import { mkdtempSync, readFileSync } from 'node:fs'
import { chmod } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, inject, test, vi } from 'vitest'
import { destroyEmbedded } from '../../src/embedded/server.js'
import { install } from '../../src/engine/migrator.js'
import { pgbq } from '../support/cli.js'
import { OWNER, withDatabase } from '../support/names.js'
import { waitFor } from '../support/wait.js'
import { eventsOf, stop, useQueue, useRole } from './work-support.js'

vi.setConfig({ testTimeout: 60_000 })

const queue = useQueue()
const alice = useRole(queue)

const warningsAtStart = async (args: string[], url: string): Promise<string[]> => {
  const work = await queue.work(['--drain', '--warm', '1', ...args], { url })
  expect(await work.exit()).toBe(0)
  return eventsOf(work, 'warning').map((e) => e.message as string)
}

test("says nothing as the queue's owner where no right has changed", async () => {
  expect(await warningsAtStart([], queue.db.url())).toEqual([])
})

test('warns a superuser once, and names the safer way', async () => {
  const url = withDatabase(inject('serverUrl'), queue.db.name)
  const work = await queue.work(['--warm', '1'], { url })
  await queue.db.admin.query(
    `select pg_terminate_backend(pid) from pg_stat_activity
     where datname = current_database() and application_name = 'pg_background_queue supervisor'`,
  )
  await work.event((e) => e.event === 'database_back')
  await queue.reaches(await queue.enqueue('select 1'), 'finished')
  expect(eventsOf(work, 'warning')).toMatchObject([
    {
      message: expect.stringMatching(
        `^Logged in as the superuser "\\w+", .* run pgbq work as its owner "${OWNER}"$`,
      ),
    },
  ])
  expect(await stop(work)).toBe(0)
})

test('warns of each right that is not as an install leaves it, one line each', async () => {
  await queue.db.owner.query(`
    grant select on background_queue.workers to ${alice.name};
    revoke execute on function pg_background_retry(bigint) from ${alice.name}`)
  expect(await warningsAtStart([], queue.db.url())).toEqual([
    `Rights: ${alice.name} has SELECT on background_queue.workers, which the queue did not grant`,
    `Rights: ${alice.name} may enqueue, but lacks EXECUTE on routine public.pg_background_retry(bigint)`,
  ])
  await install(queue.db.owner)
  expect(await warningsAtStart([], queue.db.url())).toEqual([])
})

describe('on the embedded server', () => {
  const home = mkdtempSync(join(tmpdir(), 'pgbq-rights-'))
  beforeAll(() => chmod(home, 0o755))
  afterAll(() => destroyEmbedded({ home }))

  test('nobody is told that its one role is a superuser, not by ensure-workers either', async () => {
    const env = { PGBQ_EMBEDDED_HOME: home }
    await pgbq(['enqueue', '--embedded', 'select 1'], { env })
    const work = await pgbq(['work', '--embedded', '--drain', '--json'], { env })
    expect(work.code).toBe(0)
    expect(work.stdout).not.toMatch(/"warning"/)
    await pgbq(['enqueue', '--embedded', 'select 1'], { env })
    const log = join(mkdtempSync(join(tmpdir(), 'pgbq-log-')), 'work.log')
    const started = await pgbq(
      ['ensure-workers', '--embedded', '--json', '--idle-timeout', '1s', '--log-file', log],
      { env },
    )
    expect(started.json).toMatchObject({ started: 1 })
    await waitFor('the supervisor to leave', () => /stopped\n$/.test(readFileSync(log, 'utf8')))
    expect(readFileSync(log, 'utf8')).toMatch(/finished/)
    expect(readFileSync(log, 'utf8')).not.toMatch(/warning/)
  })
})
