import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from 'vitest'
import { Database } from '../../src/engine/database/database.js'
import { resolveTarget } from '../../src/engine/database/target.js'
import { type Certificates, hasOpenssl, makeCertificates } from '../support/certificates.js'
import { pgbq, startWork } from '../support/cli.js'
import { makeServer, type TcpServer } from '../support/tcp-server.js'
import { waitFor } from '../support/wait.js'
import { eventsOf, stop } from './work-support.js'

vi.setConfig({ testTimeout: 60_000 })

const folder = mkdtempSync(join(tmpdir(), 'pgbq-connections-'))
const certificates: Certificates | undefined = hasOpenssl() ? makeCertificates(folder, 'app') : undefined
const HBA = `local all all trust
${certificates ? 'hostssl app app 127.0.0.1/32 cert' : ''}
host all locked 127.0.0.1/32 scram-sha-256
`
const servers: TcpServer[] = []
let server: TcpServer

beforeAll(async () => {
  server = await makeServer((put) => {
    put('pg_hba.conf', HBA)
    if (!certificates) return ''
    put('server.crt', certificates.text(certificates.server.cert))
    put('server.key', certificates.text(certificates.server.key))
    put('root.crt', certificates.text(certificates.authority))
    return `ssl = on\nssl_ca_file = 'root.crt'`
  })
  servers.push(server)
  await server.start()
  const admin = await server.admin()
  for (const sql of [
    'create role app login',
    `create role locked login password 's3cret' in role app`,
    'create database app owner app',
  ])
    await admin.query(sql)
  const installed = await pgbq(['install', '--json'], { url: bySocket([server]) })
  expect(installed.json).toMatchObject({ from: null })
})
afterAll(async () => {
  for (const one of servers) await one.remove()
  rmSync(folder, { recursive: true, force: true })
})

const bySocket = (list: TcpServer[]): string =>
  `host=${list.map((s) => s.folder).join(',')} port=${list.map((s) => s.port).join(',')} user=app dbname=app`

async function session(url = bySocket([server])): Promise<Database> {
  const database = await Database.connect(resolveTarget(url, {}), { applicationName: 'pgbq tests' })
  onTestFinished(() => database.close())
  return database
}

async function enqueue(database: Database, sql: string): Promise<bigint> {
  return (await database.one<{ id: bigint }>('select pg_background_enqueue($1) as id', [sql])).id
}

function reaches(database: Database, id: bigint, state: string): Promise<unknown> {
  return waitFor(`task ${id} to be ${state}`, async () => {
    const task = await database.one<{ state: string }>(
      'select state::text from pg_background_tasks where id = $1',
      [id],
    )
    return task.state === state
  })
}

test('workers log in with the certificate, the check of the server and the options that the supervisor was given', async (ctx) => {
  if (!certificates) return ctx.skip('there is no program "openssl"')
  const { authority, client } = certificates
  const env = {
    PGHOST: 'localhost',
    PGHOSTADDR: '127.0.0.1',
    PGPORT: String(server.port),
    PGUSER: 'app',
    PGSSLMODE: 'verify-full',
    PGSSLROOTCERT: authority,
    PGSSLCERT: client.cert,
    PGSSLKEY: client.key,
    PGOPTIONS: '-c work_mem=3MB',
    PGAPPNAME: 'mine',
  }
  const work = await startWork(['--concurrency', '1'], { env })
  const { stderr, json } = await pgbq(['enqueue', LOOK, '--json'], { env })
  expect(stderr).toBe('')
  const database = await session()
  await reaches(database, BigInt(json.id), 'finished')
  expect(await database.query('select * from seen')).toEqual([
    { dn: '/CN=app', memory: '3MB', name: 'pg_background_queue worker' },
  ])
  const slow = await enqueue(database, 'select pg_sleep(60)')
  await work.event((e) => e.event === 'claimed' && e.task_id === Number(slow))
  await database.query('select pg_background_cancel($1)', [slow])
  await reaches(database, slow, 'cancelled')
  const names = await database.query(
    `select distinct application_name as name from pg_stat_activity where application_name = 'mine'`,
  )
  expect(names).toEqual([])
  expect(await stop(work)).toBe(0)
  expect(work.stderr()).toBe('')
})

const LOOK = `create table seen as select s.client_dn as dn, current_setting('work_mem') as memory,
  a.application_name as name from pg_stat_ssl s join pg_stat_activity a using (pid) where pid = pg_backend_pid()`

test('a password file is read in the home, workers read it too, and nothing is said of it', async () => {
  const home = mkdtempSync(join(folder, 'home-'))
  const file = join(home, '.pgpass')
  writeFileSync(file, `127.0.0.1:${server.port}:app:locked:s3cret\n`, { mode: 0o600 })
  const env = { HOME: home, PGPASSFILE: undefined }
  const url = `postgresql://locked@127.0.0.1:${server.port}/app`
  const args = ['--database-url', url]
  const database = await session(bySocket([server]).replace('user=app', 'user=locked'))
  const id = await enqueue(database, 'select 1')
  const drained = await pgbq(['work', '--drain', '--warm', '1', '--json', ...args], { env })
  expect(drained).toMatchObject({ code: 0, stderr: '' })
  expect(drained.stdout).not.toContain('s3cret')
  await reaches(database, id, 'finished')
})

test('a cron line for a string of keywords has no password in it', async () => {
  const url = `host=127.0.0.1 port=${server.port} user=locked password='s3cret x' dbname=app`
  const printed = await pgbq(['ensure-workers', '--print-crontab'], { url })
  expect(printed.code).toBe(0)
  expect(printed.stdout + printed.stderr).not.toMatch(/s3cret/)
  expect(printed.stdout).toMatch(/user=locked\s+dbname=app/)
  expect(printed.stderr).toContain(`127.0.0.1:${server.port}:app:locked:PASSWORD`)
})

test('a running supervisor goes on at the other server when the first is gone and the other took over', async () => {
  await server.halt()
  const standby = await server.copyAsStandby()
  servers.push(standby)
  await Promise.all([server.start(), standby.start()])
  const url = `${bySocket([standby, server])} target_session_attrs=read-write`
  const work = await startWork(['--concurrency', '2'], { url })
  const at = (one: TcpServer) => `database "app" at ${one.folder}`
  expect(eventsOf(work, 'ready')[0]!.database).toBe(at(server))
  const before = await session(url)
  await reaches(before, await enqueue(before, 'create table first ()'), 'finished')
  await server.halt('SIGQUIT')
  await work.event((e) => e.event === 'database_lost')
  const admin = await standby.admin()
  await admin.query('select pg_promote()')
  expect((await work.event((e) => e.event === 'database_back')).database).toBe(at(standby))
  const after = await session(url)
  await reaches(after, await enqueue(after, 'create table second ()'), 'finished')
  const backends = await waitFor('the workers to be at the other server', async () => {
    const rows = await admin.query(
      `select from pg_stat_activity where application_name = 'pg_background_queue worker'`,
    )
    return rows.length === 2 && rows
  })
  expect(backends).toHaveLength(2)
  expect(await stop(work)).toBe(0)
})
