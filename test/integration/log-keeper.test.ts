import { expect, onTestFinished, test } from 'vitest'
import type { QueueEvent } from '../../src/engine/events.js'
import { LogKeeper } from '../../src/engine/supervisor/log-keeper.js'
import { useDatabase } from '../support/database.js'
import { startProxy } from '../support/proxy.js'

const db = useDatabase()

const LINE = { seq: 1, at: Date.now(), severity: 'NOTICE', message: 'hello' }

test('a run does not wait longer than 10 s for lines that the network has lost', {
  timeout: 30_000,
}, async () => {
  const target = db.target()
  const proxy = await startProxy({ host: target.config.host!, port: target.config.port! })
  onTestFinished(() => proxy.close())
  const events: QueueEvent[] = []
  const keeper = new LogKeeper(
    () => ({ ...target, config: { ...target.config, host: '127.0.0.1', port: proxy.port } }),
    (event) => events.push(event),
  )
  const keep = () => new Promise<void>((resolve) => keeper.keep(task, [LINE], resolve))
  const { id } = await db.owner.one<{ id: bigint }>(`select pg_background_enqueue('select 1') as id`)
  const task = { id, token: '', topic: null, attempt: 1, timeoutInSec: null, waitedMs: 0 }
  await keep()
  const [session] = await db.admin.query<{ pid: number }>(
    `select pid from pg_stat_activity where datname = current_database() and application_name like '%notices'`,
  )
  proxy.swallow(session!.pid)
  await keep()
  expect(events).toEqual([
    { event: 'warning', message: expect.stringContaining('has not answered for 10 s') },
  ])
  await keeper.close()
})
