import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest'
import { pgbq } from '../support/cli.js'
import { useDatabase } from '../support/database.js'

vi.setConfig({ testTimeout: 90_000 })

const db = useDatabase()
const cwd = mkdtempSync(join(tmpdir(), 'pgbq-config-'))
const config = (...args: string[]) => pgbq(['config', ...args], { url: db.url(), cwd })
const NAME = 'max_parallel_running_tasks_count'

beforeEach(async () => {
  await db.owner.query('delete from background_queue.settings')
  await db.owner.query('select background_queue.sync_lanes()')
})

/** A server setting for the database, until the end of the test. */
async function serverSetting(name: string, value: string): Promise<void> {
  await db.admin.query(`alter database ${db.name} set pg_background_queue.${name} = '${value}'`)
  onTestFinished(
    async () => void (await db.admin.query(`alter database ${db.name} reset pg_background_queue.${name}`)),
  )
}

test('every parameter is listed with its source', async () => {
  const { code, stdout, stderr } = await config()
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  expect(stdout).toMatch(/^parameter +topic +value +source\n/)
  const { json } = await config('list', '--json')
  expect(json.parameters).toHaveLength(11)
  expect(json.parameters[1]).toEqual({ name: 'retry_count', topic: null, value: 0, source: 'default' })
  expect(json.parameters.find((p: any) => p.name === 'paused').value).toBe(false)
})

test('a value that is set is in force, and gone once it is unset', async () => {
  expect((await config('set', 'retry_count', '3', '--topic', 'mail')).stdout).toBe(
    'retry_count of topic "mail" is 3\n',
  )
  expect((await config('get', 'retry_count', '--topic', 'mail')).stdout).toBe('3\n')
  expect((await config('get', 'retry_count')).stdout).toBe('0\n')
  expect((await config('get', 'retry_count', '--topic', 'mail', '--json')).json).toEqual({
    name: 'retry_count',
    topic: 'mail',
    value: 3,
    source: 'stored',
  })
  expect((await config('unset', 'retry_count', '--topic', 'mail')).stdout).toBe(
    'retry_count of topic "mail" is 0 (default)\n',
  )
})

test('tasks without topic have values of their own', async () => {
  await config('set', 'paused', 'true', '--no-topic')
  expect((await config('--no-topic', '--json')).json.parameters).toEqual([
    { name: 'paused', topic: '', value: true, source: 'stored' },
  ])
})

test('the first source that gives a value wins', async () => {
  const delay = async () => (await config('get', 'delay_in_sec', '--topic', 'mail', '--json')).json
  expect(await delay()).toMatchObject({ value: 0, source: 'default' })
  await serverSetting('delay_in_sec', '1')
  expect(await delay()).toMatchObject({ value: 1, source: 'server' })
  await config('set', 'delay_in_sec', '2')
  expect(await delay()).toMatchObject({ value: 2, source: 'stored', topic: null })
  await serverSetting('topic_config', '{"mail": {"delay_in_sec": 3}}')
  expect(await delay()).toMatchObject({ value: 3, source: 'topic_config', topic: 'mail' })
  await config('set', 'delay_in_sec', '4', '--topic', 'mail')
  expect(await delay()).toMatchObject({ value: 4, source: 'stored', topic: 'mail' })
})

test("a topic's limit above the queue's is said to be capped", async () => {
  await config('set', NAME, '2')
  const { stdout } = await config('set', NAME, '9', '--topic', 'mail')
  expect(stdout).toBe(`${NAME} of topic "mail" is 9 (capped by the queue’s limit)\n`)
  expect((await config('list')).stdout).toMatch(new RegExp(`^${NAME} +mail +9 capped +stored$`, 'm'))
})

test('a broken topic_config is named on stderr, and enqueue goes on', async () => {
  await serverSetting('topic_config', '{bad')
  const list = await config('list')
  expect(list.code).toBe(0)
  expect(list.stderr).toBe(
    'Ignored: pg_background_queue.topic_config is "{bad", expected a JSON object of topics\n',
  )
  const { code, stdout } = await pgbq(['enqueue', 'select 1', '--topic', 'mail'], { url: db.url() })
  expect(code).toBe(0)
  expect(stdout).toMatch(/^\d+\n$/)
})

test('broken values are named one by one, and the others hold', async () => {
  await serverSetting(
    'topic_config',
    '{"a": {"delay_in_sec": "x", "retry_count": 7}, "b": 5, "": {"nope": 1}}',
  )
  await serverSetting('retry_count', '-4')
  const { stdout, stderr } = await config('list')
  expect(stdout).toMatch(/^retry_count +a +7 +topic_config$/m)
  expect(stdout).toMatch(/^retry_count +0 +default$/m)
  expect(stderr.trim().split('\n').sort()).toEqual([
    'Ignored: delay_in_sec of topic "a" in pg_background_queue.topic_config is "x", expected a number from 0 to 86400000',
    'Ignored: nope of tasks without topic in pg_background_queue.topic_config is "1", expected a known parameter',
    'Ignored: pg_background_queue.retry_count is "-4", expected an integer from 0 to 1000',
    'Ignored: topic "b" in pg_background_queue.topic_config is "5", expected an object of parameters',
  ])
})

describe('a configuration file', () => {
  const apply = (content: string, ...args: string[]) => {
    writeFileSync(join(cwd, '.pgbqrc'), content)
    return config('apply', ...args)
  }

  test('is stored as a whole, and a dry run says the same and stores nothing', async () => {
    await config('set', 'retry_count', '1', '--topic', 'gone')
    const content = JSON.stringify({
      parameters: { retry_count: 3 },
      topics: { mail: { paused: true }, '': { priority: 5 } },
    })
    const expected = [
      'retry_count: (not stored) → 3',
      'priority of tasks without topic: (not stored) → 5',
      'retry_count of topic "gone": 1 → (removed)',
      'paused of topic "mail": (not stored) → true',
      '',
    ].join('\n')
    expect((await apply(content, '--dry-run')).stdout).toBe(expected)
    expect((await config('get', 'retry_count')).stdout).toBe('0\n')
    expect((await apply(content)).stdout).toBe(expected)
    expect((await config('get', 'retry_count')).stdout).toBe('3\n')
    expect((await apply(content)).stdout).toBe(`The stored parameters equal "${join(cwd, '.pgbqrc')}"\n`)
  })

  test.each([
    ['{"parameters": {"retry_count": -3}}', /the queue: Expected retry_count to be an integer/],
    ['{"parameters": {"nope": 1}}', /the queue: No parameter is named "nope"/],
    [
      '{"topics": {"a": {"retention_in_days": 4}}}',
      /topic "a": The parameter "retention_in_days" is the whole queue's/,
    ],
    ['{"parameters": {"retry_count": 1, "paused": "x"}}', /Expected paused to be true or false, got "x"/],
  ])('with a value that nobody could obey stores nothing: %s', async (content, message) => {
    for (const args of [[], ['--dry-run']]) {
      const { code, stdout, stderr } = await apply(content, ...args)
      expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
      expect(stderr).toMatch(message)
      expect(stderr).toContain(join(cwd, '.pgbqrc'))
    }
    expect(await db.owner.query('select from background_queue.settings')).toEqual([])
  })
})

test('the server is that of --database-url, PGBQ_DATABASE_URL, DATABASE_URL, the file, then PG*', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'pgbq-order-'))
  const dead = (name: string) => `postgresql://u@127.0.0.1:1/${name}`
  const env: Record<string, string> = { PGHOST: '127.0.0.1', PGPORT: '1', PGDATABASE: 'from_pg', PGUSER: 'u' }
  const chosen = async (...args: string[]) =>
    /database "(\w+)"/.exec((await pgbq(['status', ...args], { env, cwd: folder })).stderr)?.[1]
  expect(await chosen()).toBe('from_pg')
  writeFileSync(join(folder, '.pgbqrc'), `database_url: ${dead('from_file')}`)
  expect(await chosen()).toBe('from_file')
  env.DATABASE_URL = dead('from_common')
  expect(await chosen()).toBe('from_common')
  env.PGBQ_DATABASE_URL = dead('from_own')
  expect(await chosen()).toBe('from_own')
  expect(await chosen('--database-url', dead('from_flag'))).toBe('from_flag')
})
