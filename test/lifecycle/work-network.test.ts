import { readFileSync } from 'node:fs'
import { beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest'
import { Database } from '../../src/engine/database/database.js'
import type { ConnectionTarget } from '../../src/engine/database/target.js'
import { startProxy } from '../support/proxy.js'
import { waitFor } from '../support/wait.js'
import { eventsOf, holderOf, isAlive, sessions, stop, useQueue, workerPids } from './work-support.js'

vi.setConfig({ testTimeout: 60_000 })

const queue = useQueue()

/** Runs for as long as the test holds the lock. */
const HELD = 'insert into ledger select 1 from (select pg_advisory_lock_shared(1)) l'

beforeEach(async () => {
  await queue.db.owner.query('create table if not exists ledger (n integer); truncate ledger')
  await queue.db.owner.query('select pg_advisory_unlock_all(), pg_advisory_lock(1)')
})
const letGo = () => queue.db.owner.query('select pg_advisory_unlock(1)')
const entries = () => queue.count('select count(*) from ledger')

async function proxyOf(target: ConnectionTarget) {
  const proxy = await startProxy({ host: target.config.host!, port: target.config.port! })
  onTestFinished(() => proxy.close())
  return proxy
}

/** On a server that is reached through so many proxies, a list of hosts. */
async function workThroughProxies(count: number, args: string[]) {
  const target = queue.db.target()
  const { user, password, database } = target.config
  const proxies = await Promise.all(Array.from({ length: count }, () => proxyOf(target)))
  const hosts = proxies.map(({ port }) => `127.0.0.1:${port}`).join(',')
  const work = await queue.work(args, { url: `postgresql://${user}:${password}@${hosts}/${database}` })
  return { proxy: proxies[0]!, work }
}

describe('a connection that the network has lost without a word', () => {
  test("of a worker whose backend is gone: its process is ended, its task runs again and isn't blamed", async () => {
    const { proxy, work } = await workThroughProxies(1, ['--concurrency', '2', '--warm', '1'])
    const id = await queue.enqueue(HELD)
    const holder = await holderOf(queue, id)
    proxy.swallow(holder.backend_pid)
    await queue.db.admin.query('select pg_terminate_backend($1)', [holder.backend_pid])
    await letGo()
    expect(await queue.reaches(id, 'finished')).toMatchObject({
      rescues: 1,
      worker_deaths: 0,
      retry_count: 0,
    })
    expect(isAlive(holder.pid)).toBe(false)
    expect(eventsOf(work, 'worker_gone')[0]).toMatchObject({
      reason: expect.stringContaining('had lost its session and did not know'),
    })
    expect(await entries()).toBe(1)
    expect(await stop(work)).toBe(0)
  })

  test('of a supervisor: it comes back for its workers, which went on', async () => {
    const { proxy, work } = await workThroughProxies(1, ['--concurrency', '1'])
    const id = await queue.enqueue(HELD)
    await holderOf(queue, id)
    const { pid } = (await sessions(queue.db)).find((s) => s.application_name.endsWith('supervisor'))!
    proxy.swallow(pid)
    await work.event((e) => e.event === 'database_back')
    await letGo()
    expect(await queue.reaches(id, 'finished')).toMatchObject({ rescues: 0 })
    expect(workerPids(work)).toHaveLength(1)
    await queue.reaches(await queue.enqueue('select 1'), 'finished')
    expect(await stop(work)).toBe(0)
    // as the server's keepalives do where the network is gone in earnest
    await queue.db.admin.query('select pg_terminate_backend($1)', [pid])
  })
})

test('a host that says nothing more is left for the next of the list, with all tasks', async () => {
  const { proxy, work } = await workThroughProxies(2, ['--concurrency', '2', '--warm', '2'])
  const id = await queue.enqueue(HELD)
  await holderOf(queue, id)
  proxy.fallSilent()
  for (const { pid } of await sessions(queue.db))
    await queue.db.admin.query('select pg_terminate_backend($1)', [pid])
  await letGo()
  expect(await queue.reaches(id, 'finished', 45_000)).toMatchObject({
    rescues: 1,
    worker_deaths: 0,
    retry_count: 0,
  })
  expect(await entries()).toBe(1)
  expect(await stop(work)).toBe(0)
})

const hex = (port: number) => port.toString(16).toUpperCase().padStart(4, '0')

test('asks after 5 s of silence whether the other end still knows of a connection', async (ctx) => {
  if (process.platform !== 'linux') return ctx.skip('only Linux shows the timers of TCP')
  const target = queue.db.target()
  const proxy = await proxyOf(target)
  const database = await Database.connect(
    { ...target, config: { ...target.config, host: '127.0.0.1', port: proxy.port } },
    { applicationName: 'pgbq tests' },
  )
  onTestFinished(() => database.close())
  const { localPort } = (database.client as any).connection.stream
  // timer 2 is keepalive, its time in hundredths of a second: https://docs.kernel.org/networking/proc_net_tcp.html
  const timer = await waitFor('the last word to be acknowledged', () => {
    const line = readFileSync('/proc/net/tcp', 'utf8')
      .split('\n')
      .find((l) => new RegExp(`:${hex(localPort)} \\w+:${hex(proxy.port)} `).test(l))
    return / 02:([0-9A-F]+) /.exec(line ?? '')?.[1]
  })
  expect(Number.parseInt(timer, 16)).toBeLessThanOrEqual(500)
})
