import { describe, expect, test } from 'vitest'
import { pgbq, startWork } from '../support/cli.js'
import { useDatabase } from '../support/database.js'
import { ALICE } from '../support/names.js'

const db = useDatabase()
const run = (args: string[], options: Parameters<typeof pgbq>[1] = {}) =>
  pgbq(['enqueue', ...args], { url: db.url(), ...options })
const row = (id: unknown) => db.owner.one('select * from pg_background_tasks where id = $1', [id])

describe('the id of a new task', () => {
  test('is printed alone', async () => {
    const { code, stdout, stderr } = await run(['select 1'])
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout).toMatch(/^\d+\n$/)
    expect(await row(stdout.trim())).toMatchObject({
      sql_statement: 'select 1',
      state: 'pending',
      topic: null,
    })
  })

  test('is the only key as JSON', async () => {
    const { code, json, stderr } = await run(['select 1', '--json'])
    expect({ code, stderr, keys: Object.keys(json) }).toEqual({ code: 0, stderr: '', keys: ['id'] })
  })

  test('is exact above 2^53, as text and as JSON', async () => {
    await db.owner.query(
      `select setval(pg_get_serial_sequence('pg_background_tasks', 'id'), 9223372036854775000)`,
    )
    expect((await run(['select 1'])).stdout).toBe('9223372036854775001\n')
    expect((await run(['select 1', '--json'])).stdout).toBe('{\n  "id": 9223372036854775002\n}\n')
    const status = await pgbq(['status', '9223372036854775001', '--json'], { url: db.url() })
    expect(status.stdout).toContain('"id": 9223372036854775001,')
    await db.owner.query(`select setval(pg_get_serial_sequence('pg_background_tasks', 'id'), 1000)`)
  })
})

describe('SQL', () => {
  test.each([
    ['a comment', '-- refresh\nselect 1'],
    ['a comment without a blank', '--refresh\nselect 1'],
    ['a rule of dashes', '-----\nselect 1'],
    ['only a comment', '-- nothing'],
    ['a minus', '-1'],
    ['a syntax error, which the worker will meet', 'selec 1'],
    ['every script', `select 'ü 漢 🎉 "quoted"' as "it's"`],
  ])('that is %s is stored as it was given', async (_, sql) => {
    const { code, stdout } = await run([sql])
    expect(code).toBe(0)
    expect((await row(stdout.trim())).sql_statement).toBe(sql)
  })

  test('may begin with a comment behind flags, and beside the value of one that does too', async () => {
    const { stdout } = await run(['--topic', '-- odd', '-- x\nselect 1', '--priority', '7'])
    expect(await row(stdout.trim())).toMatchObject({
      sql_statement: '-- x\nselect 1',
      topic: '-- odd',
      priority: 7,
    })
  })

  test('may come from stdin, as one task of many lines', async () => {
    const input = 'select 1;\n\nselect 2;\n'
    const { code, stdout } = await run(['-'], { input })
    expect(code).toBe(0)
    expect((await row(stdout.trim())).sql_statement).toBe(input)
  })

  test('may have a megabyte', async () => {
    const input = `select '${'ü'.repeat(500_000)}'`
    const { stdout } = await run(['-'], { input })
    expect((await row(stdout.trim())).sql_statement).toBe(input)
  })

  test('that controls its transaction is taken, with a warning on stderr', async () => {
    const { code, stdout, stderr } = await run(['begin; delete from t; commit'])
    expect(code).toBe(0)
    expect(stdout).toMatch(/^\d+\n$/)
    expect(stderr).toBe(
      'Warning: the task will fail, for it controls its transaction with "begin"; all statements of a task are one transaction\n',
    )
  })
})

describe('what a flag says', () => {
  test('is on the row', async () => {
    const flags = [
      ...['--topic', 't "o" \'p\' 🎉', '--priority', '-5', '--retry-count', '3', '--timeout', '1.5m'],
      ...['--unique-key', 'k', '--mode', 'transaction', '--isolation', 'serializable'],
    ]
    const { stdout } = await run(['select 1', ...flags])
    expect(await row(stdout.trim())).toMatchObject({
      topic: 't "o" \'p\' 🎉',
      priority: -5,
      max_retries: 3,
      timeout_in_sec: 90,
      unique_key: 'k',
      mode: 'transaction',
      isolation: 'serializable',
      enqueued_by: 'pgbq_owner',
    })
  })

  test.each([
    ['2030-01-02T03:04', '2030-01-01T18:04:00Z'],
    ['2030-01-02', '2030-01-01T15:00:00Z'],
    ['2030-01-02T03:04+01:00', '2030-01-02T02:04:00Z'],
  ])('--run-at %s in Tokyo is %s', async (time, instant) => {
    const { stdout } = await run(['select 1', '--run-at', time], { env: { TZ: 'Asia/Tokyo' } })
    expect((await row(stdout.trim())).run_at).toBe(instant)
  })

  test('--in counts from now, also for longer than a timer can', async () => {
    const { stdout } = await run(['select 1', '--in', '60d'])
    const { days } = await db.owner.one<{ days: number }>(
      'select round(extract(epoch from run_at - joined_at) / 86400)::float8 as days from pg_background_tasks where id = $1',
      [stdout.trim()],
    )
    expect(days).toBe(60)
  })

  test('an empty topic is none, and one of blanks is one', async () => {
    expect((await row((await run(['select 1', '--topic', ''])).stdout.trim())).topic).toBeNull()
    expect((await row((await run(['select 1', '--topic', ' '])).stdout.trim())).topic).toBe(' ')
  })

  test('a unique key that waits adds nothing and gives its id', async () => {
    const first = await run(['select 1', '--unique-key', 'once', '--json'])
    const again = await run(['select 2', '--unique-key', 'once', '--json'])
    expect(again.json).toEqual({ id: first.json.id, existing: true })
    expect((await run(['select 2', '--unique-key', 'once'])).stdout).toBe(`${first.json.id}\n`)
    expect(again.code).toBe(0)
  })
})

test('an ordinary role may enqueue once it was granted, its role on the row', async () => {
  const refused = await run(['select 1'], { url: db.url(ALICE) })
  expect(refused).toMatchObject({ code: 1, stdout: '' })
  expect(refused.stderr).toMatch(
    /^Error: The role has no right to do that in database ".*\nTry this: log in as the queue.s owner, or have it run: pgbq install --grant-enqueue/,
  )
  await pgbq(['install', '--grant-enqueue', ALICE], { url: db.url() })
  const { stdout } = await run(['select 1'], { url: db.url(ALICE) })
  expect((await row(stdout.trim())).enqueued_by).toBe(ALICE)
})

describe('--wait', () => {
  test('says how the task ended, and ends with 1 unless it finished', async () => {
    await db.owner.query('truncate pg_background_tasks')
    await db.owner.query('create table effect (n integer)')
    await startWork(['--concurrency', '1'], { url: db.url() })

    const finished = await run(['insert into effect select generate_series(1, 3)', '--wait'])
    expect(finished).toMatchObject({ code: 0, stderr: '' })
    expect(finished.stdout).toMatch(/^Task \d+ finished in [\d.]+ m?s: INSERT 3\n$/)

    const failed = await run(['select 1/0', '--wait'])
    expect(failed).toMatchObject({ code: 1, stderr: '' })
    expect(failed.stdout).toMatch(/^Task \d+ failed in [\d.]+ m?s\nERROR 22012: division by zero\n$/)

    const json = await run(['insert into nowhere values (1)', '--wait', '--json'])
    expect(json.code).toBe(1)
    expect(json.json).toMatchObject({ state: 'failed', errors: expect.stringMatching(/^ERROR 42P01: /) })
    expect(json.json).not.toHaveProperty('token_hash')
  })
})
