import { randomBytes } from 'node:crypto'
import { existsSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { Database } from '../../src/engine/database/database.js'
import { resolveTarget } from '../../src/engine/database/target.js'
import { pgbq } from '../support/cli.js'
import { useDatabase } from '../support/database.js'
import { OWNER, PASSWORD, withDatabase, withUser } from '../support/names.js'

vi.setConfig({ testTimeout: 120_000 })

const db = useDatabase()
const COMMANDS = [
  ['status'],
  ['enqueue', 'select 1'],
  ['config'],
  ['calibrate'],
  ['ensure-workers'],
  ['work', '--drain', '--warm', '1'],
]

/** Runs a command that must fail, and gives what it said on stderr and as JSON; neither may show a password. */
async function failure(
  args: string[],
  options: Parameters<typeof pgbq>[1],
): Promise<{ stderr: string; error: any }> {
  const text = await pgbq(args, options)
  expect({ args, code: text.code, stdout: text.stdout }).toEqual({ args, code: 1, stdout: '' })
  expect(text.stderr).toMatch(/^Error: [^\n]+\nTry this: [^\n]+\n$/)
  const json = await pgbq([...args, '--json'], options)
  expect({ args, code: json.code, stderr: json.stderr }).toEqual({ args, code: 1, stderr: '' })
  expect(text.stderr + json.stdout).not.toMatch(/s3cret|pgbq-tests/)
  return { stderr: text.stderr, error: json.json.error }
}

test('a server that does not answer is named, without the password', async () => {
  const { stderr, error } = await failure(['status'], { url: 'postgresql://u:s3cret@127.0.0.1:1/app' })
  expect(error.code).toBe('SERVER_UNREACHABLE')
  expect(stderr).toMatch(/^Error: No server answers for database "app" at 127\.0\.0\.1:1: /)
})

test('where nothing names a server and none answers, both ways are offered', async () => {
  const env = { PGPORT: '1', PGHOST: mkdtempSync(join(tmpdir(), 'pgbq-no-server-')) }
  const { error } = await failure(['status'], { env })
  expect(error.code).toBe('SERVER_UNREACHABLE')
  expect(error.hint).toMatch(/--database-url .*--embedded/)
})

test('a database that does not exist is named', async () => {
  const { error } = await failure(['status'], { url: withDatabase(db.url(), 'nowhere') })
  expect(error).toMatchObject({
    code: 'DATABASE_MISSING',
    message: expect.stringMatching(/^There is no database "nowhere" at /),
  })
})

/** A role that must show its password on a server of this machine; undefined where that cannot be arranged. */
async function lockedRole(): Promise<string | undefined> {
  const { file } = await db.admin.one<{ file: string }>(`select current_setting('hba_file') as file`)
  if (!existsSync(file)) return undefined
  const role = `pgbq_locked_${randomBytes(4).toString('hex')}`
  // before PostgreSQL 14 a password is kept in a form that only md5 takes
  await db.admin.script(`begin; set local password_encryption = 'scram-sha-256';
    create role ${role} login password 's3cret-right'; commit`)
  const before = readFileSync(file, 'utf8')
  const reload = async (text: string) => {
    writeFileSync(file, text)
    await db.admin.query('select pg_reload_conf()')
  }
  onTestFinished(async () => {
    await reload(before)
    await db.admin.query(`drop role ${role}`)
  })
  await reload(`local all ${role} scram-sha-256\nhost all ${role} all scram-sha-256\n${before}`)
  return role
}
const NO_HBA = 'the server is not on this machine, so its pg_hba.conf cannot be changed'
const env = { PGPASSFILE: '/nonexistent/.pgpass' }

test('a wrong password is said to be wrong, and never printed', async (ctx) => {
  const role = await lockedRole()
  if (role === undefined) return ctx.skip(NO_HBA)
  const url = withUser(db.url(), role, 's3cret-wrong')
  for (const args of [['status'], ['install'], ['work', '--drain', '--warm', '1']]) {
    const { error } = await failure(args, { url, env })
    expect(error).toMatchObject({ code: 'LOGIN_REFUSED', message: expect.stringContaining(role) })
  }
  const right = await pgbq(['status'], { url: withUser(db.url(), role, 's3cret-right'), env })
  expect(right.stderr).not.toContain('refused the login')
})

test('a password that is missing is asked for, and the command ends at once', async (ctx) => {
  const role = await lockedRole()
  if (role === undefined) return ctx.skip(NO_HBA)
  const begunAt = Date.now()
  const { error } = await failure(['status'], { url: withUser(db.url(), role, ''), env })
  expect(error).toMatchObject({
    code: 'LOGIN_REFUSED',
    message: expect.stringMatching(/: it wants a password, and none was given$/),
  })
  expect(Date.now() - begunAt).toBeLessThan(20_000)
})

describe('a queue that is not of this version', () => {
  test('is not there: every command offers install', async () => {
    const bare = `pgbq_test_${randomBytes(6).toString('hex')}`
    await db.admin.query(`create database ${bare} owner ${OWNER}`)
    const url = withDatabase(db.url(), bare)
    for (const args of COMMANDS) {
      const { error } = await failure(args, { url })
      expect(error).toMatchObject({ code: 'NOT_INSTALLED', hint: 'pgbq install' })
      expect(error.message).toContain(`The queue is not installed in database "${bare}"`)
    }
    await db.admin.query(`drop database ${bare} with (force)`)
  })

  test('is newer: every command says so, install too', async () => {
    await db.owner.query(
      `insert into background_queue.migrations (version, name) values (9999, '9999_future')`,
    )
    onTestFinished(
      async () => void (await db.owner.query('delete from background_queue.migrations where version = 9999')),
    )
    for (const args of [...COMMANDS, ['install']]) {
      const { error } = await failure(args, { url: db.url() })
      expect(error).toMatchObject({
        code: 'NEWER_SCHEMA',
        message: expect.stringMatching(/^The queue has schema version 9999, this program knows \d+$/),
        hint: 'npm install --global pg-background-queue@latest',
      })
    }
  })

  test('is older: every command offers install', async () => {
    const gone = await db.owner.query(
      'delete from background_queue.migrations where version = (select max(version) from background_queue.migrations) returning version, name',
    )
    onTestFinished(async () => {
      await db.owner.query('insert into background_queue.migrations (version, name) values ($1, $2)', [
        gone[0]!.version,
        gone[0]!.name,
      ])
    })
    for (const args of COMMANDS) {
      const { error } = await failure(args, { url: db.url() })
      expect(error).toMatchObject({ code: 'OLDER_SCHEMA', hint: 'pgbq install' })
    }
  })
})

test('a read-only server refuses what writes, and says why; status reads on', async () => {
  await db.admin.query(`alter database ${db.name} set default_transaction_read_only = on`)
  onTestFinished(
    async () => void (await db.admin.query(`alter database ${db.name} reset default_transaction_read_only`)),
  )
  const { error } = await failure(['enqueue', 'select 1'], { url: db.url() })
  expect(error).toMatchObject({ code: 'READ_ONLY', hint: 'connect to the primary server' })
  expect((await pgbq(['status'], { url: db.url() })).code).toBe(0)
})

test('a queue in another schema than --schema says is named', async () => {
  const { error } = await failure(['status', '--schema', 'jobs'], { url: db.url() })
  expect(error).toEqual({
    code: 'OTHER_SCHEMA',
    message: 'The queue of this database is in schema "public", not in "jobs"',
    hint: 'pgbq status --schema public',
  })
})

test('a database without an encoding keeps every text as it is', async (ctx) => {
  const name = `pgbq_test_${randomBytes(6).toString('hex')}`
  const { version } = await db.admin.one<{ version: number }>(
    `select current_setting('server_version_num')::integer as version`,
  )
  const provider = version >= 150000 ? 'locale_provider libc' : ''
  const made = await db.admin
    .query(
      `create database ${name} owner ${OWNER} template template0 encoding 'SQL_ASCII' ${provider} lc_collate 'C' lc_ctype 'C'`,
    )
    .catch((error: Error) => error)
  if (made instanceof Error) return ctx.skip(`the server makes no SQL_ASCII database: ${made.message}`)
  onTestFinished(async () => void (await db.admin.query(`drop database ${name} with (force)`)))
  const url = withDatabase(db.url(), name)
  expect((await pgbq(['install'], { url })).code).toBe(0)
  const { json } = await pgbq(
    ['enqueue', `create table "größe 漢" as select '🎉' as x`, '--topic', 'grün 🎉', '--json'],
    { url },
  )
  expect((await pgbq(['work', '--drain', '--warm', '1'], { url })).code).toBe(0)
  const task = await pgbq(['status', String(json.id), '--json'], { url })
  expect(task.json).toMatchObject({
    state: 'finished',
    topic: 'grün 🎉',
    sql_statement: `create table "größe 漢" as select '🎉' as x`,
  })
})

test('a server that speaks another language changes no code and no sentence of ours', async (ctx) => {
  await db.admin
    .query(`alter role ${OWNER} in database ${db.name} set lc_messages = 'de_DE.UTF-8'`)
    .catch(() => undefined)
  onTestFinished(
    async () => void (await db.admin.query(`alter role ${OWNER} in database ${db.name} reset lc_messages`)),
  )
  const german = await Database.connect(resolveTarget(withUser(db.url(), OWNER, PASSWORD)), {
    applicationName: 'pgbq tests',
  })
  const said = await german.query('select 1/0').catch((error: Error) => error.message)
  await german.close()
  if (said === 'division by zero') return ctx.skip('the server has no German messages')
  expect((await failure(['status'], { url: withDatabase(db.url(), 'nowhere') })).error.code).toBe(
    'DATABASE_MISSING',
  )
  expect((await failure(['install', '--grant-enqueue', 'nobody'], { url: db.url() })).error.code).toBe(
    'UNKNOWN_ROLE',
  )
})
