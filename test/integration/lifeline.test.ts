import { afterEach, beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import { Database } from '../../src/engine/database/database.js'
import { Lifeline } from '../../src/engine/supervisor/lifeline.js'
import { useDatabase } from '../support/database.js'
import { PASSWORD } from '../support/names.js'
import { startProxy } from '../support/proxy.js'
import { waitFor } from '../support/wait.js'

const db = useDatabase({ isEmpty: true })
const LOOK_AFTER_MS = 150

let proxy: Awaited<ReturnType<typeof startProxy>>
let database: Database
let lifeline: Lifeline
let pid: number

beforeEach(async () => {
  const target = db.target()
  proxy = await startProxy({ host: target.config.host!, port: target.config.port! })
  ;({ database, lifeline, pid } = await connect({ host: '127.0.0.1', port: proxy.port }))
})
afterEach(async () => {
  await database.close()
  await proxy.close()
})

async function connect(config: Record<string, unknown>) {
  const target = db.target()
  const opened = await Database.connect(
    { ...target, config: { ...target.config, ...config } },
    { applicationName: 'pgbq tests' },
  )
  const row = await opened.one<{ pid: number; startedAt: string }>(
    `select pid, backend_start as "startedAt" from pg_stat_activity where pid = pg_backend_pid()`,
  )
  return { database: opened, lifeline: new Lifeline(opened, row, LOOK_AFTER_MS), pid: row.pid }
}

describe('a connection that does not answer', () => {
  test('is dropped where the query was lost', async () => {
    proxy.swallow(pid)
    await expect(lifeline.hold(() => database.query('select 1'))).rejects.toThrow(/Connection terminated/)
    expect(database.lost).toBeDefined()
  })

  test('is dropped where the answer was lost', async () => {
    const asking = lifeline.hold(() => database.query('select pg_sleep(0.3)'))
    asking.catch(() => undefined)
    await waitFor('the query to run', async () => {
      const [row] = await db.admin.query(`select from pg_stat_activity where pid = $1 and state = 'active'`, [
        pid,
      ])
      return row !== undefined
    })
    proxy.swallow(pid)
    await expect(asking).rejects.toThrow(/Connection terminated/)
  })

  test('is dropped where its backend is gone', async () => {
    proxy.swallow(pid)
    await db.admin.query('select pg_terminate_backend($1)', [pid])
    await expect(lifeline.hold(() => database.query('select 1'))).rejects.toThrow(/Connection terminated/)
  })

  test('is dropped where no server can be reached', async () => {
    proxy.swallow(pid)
    const asking = lifeline.hold(() => database.query('select 1'))
    proxy.refuse()
    await expect(asking).rejects.toThrow(/Connection terminated/)
  })
})

describe('a connection is left in peace', () => {
  test('while its statement waits for a lock', async () => {
    await db.admin.query('select pg_advisory_lock(1)')
    const asking = lifeline.hold(() => database.query('select pg_advisory_lock(1)'))
    // one takes two connections where TLS is asked for first
    const before = proxy.count
    await waitFor('two looks', () => proxy.count >= before + 3)
    await db.admin.query('select pg_advisory_unlock(1)')
    await asking
    expect(database.lost).toBeUndefined()
  })

  test('where the server has no room for a second one', async () => {
    const role = `pgbq_test_one_${process.pid}`
    await db.admin.query(`create role ${role} login connection limit 1 password '${PASSWORD}'`)
    onTestFinished(async () => void (await db.admin.query(`drop role ${role}`)))
    const only = await connect({ user: role, password: PASSWORD })
    await only.lifeline.hold(() => only.database.query('select pg_sleep(1)'))
    expect(only.database.lost).toBeUndefined()
    await only.database.close()
  })

  test('once it was answered', async () => {
    const before = proxy.count
    await lifeline.hold(() => database.query('select 1'))
    await database.query('select pg_sleep(0.5)')
    expect(database.lost).toBeUndefined()
    expect(proxy.count).toBe(before)
  })
})
