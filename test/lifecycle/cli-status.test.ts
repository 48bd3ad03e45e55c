import { beforeAll, describe, expect, test } from 'vitest'
import { pgbq, startWork } from '../support/cli.js'
import { useDatabase } from '../support/database.js'
import { waitFor } from '../support/wait.js'

const db = useDatabase()
const status = (...args: string[]) => pgbq(['status', ...args], { url: db.url() })
const STATES = { pending: 0, running: 0, retrying: 0, failed: 0, finished: 0, cancelled: 0 }

test('an empty queue is said to be empty', async () => {
  const { code, stdout, stderr } = await status()
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  expect(stdout).toBe(
    "No tasks. Try this: pgbq enqueue 'SELECT 1'\n\nNo supervisor is alive. Try this: pgbq work\n",
  )
  const { json } = await status('--json')
  expect(json).toMatchObject({ states: STATES, topics: [], workers: [], oldest_due_sec: null })
  expect((await status('--limit', '5')).stdout).toBe('No tasks\n')
  expect((await status('--limit', '5', '--json')).json).toEqual({ tasks: [] })
})

describe('a queue that was worked', () => {
  let failed: bigint

  beforeAll(async () => {
    const add = async (sql: string, topic: string | null, options = '{}') =>
      (
        await db.owner.one<{ id: bigint }>('select pg_background_enqueue($1, $2, $3) as id', [
          sql,
          topic,
          options,
        ])
      ).id
    await add('select 1', null)
    await add('select 2', 'mail')
    failed = await add('select 1/0', 'mail')
    await pgbq(['work', '--drain', '--warm', '1'], { url: db.url() })
    await add('select 3', 'later', '{"run_at": "2090-01-01"}')
    await add('select 4', 'bad \u001b[2J 🎉')
  })

  test('is counted by topic and state', async () => {
    const { json } = await status('--json')
    expect(json.states).toEqual({ ...STATES, pending: 2, failed: 1, finished: 2 })
    expect(json.topics.find((t: any) => t.topic === 'mail')).toMatchObject({
      states: { ...STATES, failed: 1, finished: 1 },
      limit: expect.any(Number),
      delay_in_sec: 0,
      paused: false,
    })
    expect(json.topics.find((t: any) => t.topic === null).states.finished).toBe(1)
    expect(json.oldest_due_sec).toBeGreaterThanOrEqual(0)
    expect(json.failures).toEqual([expect.objectContaining({ id: Number(failed), topic: 'mail' })])
  })

  test('is a table for people, without what could upset their terminal', async () => {
    const { stdout, stderr } = await status()
    expect(stderr).toBe('')
    expect(stdout).toMatch(/^topic +pending +running +retrying +failed +finished +cancelled +limit\n/)
    expect(stdout).toMatch(/^mail +0 +0 +0 +1 +1 +0 +\d+$/m)
    expect(stdout).toMatch(/^\(no topic\) +0 +0 +0 +0 +1 +0 +\d+$/m)
    expect(stdout).toMatch(/^all +2 +0 +0 +1 +2 +0$/m)
    expect(stdout).toContain('No supervisor is alive')
    expect(stdout).toMatch(/^Oldest due task: waiting for /m)
    expect(stdout).toContain('bad \\u001b[2J 🎉')
    expect(stdout).not.toContain('\u001b')
  })

  test.each([
    [
      ['--state', 'finished'],
      ['select 2', 'select 1'],
    ],
    [
      ['--state', 'finished', '--state', 'failed', '--topic', 'mail'],
      ['select 1/0', 'select 2'],
    ],
    [['--no-topic'], ['select 1']],
    [
      ['--topic', 'later', '--no-topic'],
      ['select 3', 'select 1'],
    ],
    [
      ['--limit', '2'],
      ['select 4', 'select 3'],
    ],
    [['--topic', 'Mail'], []],
  ])('lists with %j its tasks, newest first', async (args, statements) => {
    const { json } = await status(...args, '--json')
    expect(json.tasks.map((t: any) => t.sql_statement)).toEqual(statements)
  })

  test('lists tasks as a table', async () => {
    const { stdout } = await status('--topic', 'mail')
    expect(stdout).toMatch(/^id +state +topic +prio +joined +took +sql\n/)
    expect(stdout).toMatch(
      /^\d+ +failed +mail +100 +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d +[\d.]+ m?s +select 1\/0$/m,
    )
  })

  test('gives a row the names of the columns, the first eleven in order, instants in UTC', async () => {
    const { json } = await status(String(failed), '--json')
    expect(Object.keys(json).slice(0, 11)).toEqual([
      ...['id', 'sql_statement', 'topic', 'joined_at', 'started_at', 'closed_at', 'priority', 'state'],
      ...['retry_count', 'retry_delay_in_sec', 'errors'],
    ])
    const columns = await db.owner.query<{ name: string }>(
      `select attname as name from pg_attribute where attrelid = 'pg_background_tasks'::regclass and attnum > 0`,
    )
    const known = [...columns.map((c) => c.name), 'attempts']
    expect(Object.keys(json).filter((key) => !known.includes(key))).toEqual([])
    expect(json).not.toHaveProperty('token_hash')
    expect(json.closed_at).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/)
    expect(json.attempts).toEqual([
      expect.objectContaining({ outcome: 'failed', sqlstate: '22012', message: 'division by zero' }),
    ])
  })

  test('says all about one task', async () => {
    const { stdout } = await status(String(failed))
    expect(stdout).toMatch(new RegExp(`^Task ${failed}\n`))
    expect(stdout).toMatch(/^state +failed$/m)
    expect(stdout).toContain('\n\nselect 1/0\n\nERROR 22012: division by zero\n\n')
    expect(stdout).toMatch(/^ended +outcome +sqlstate +message$/m)
  })
})

test('a living worker is shown with the task it runs', async () => {
  await startWork(['--concurrency', '1'], { url: db.url() })
  const { json } = await pgbq(['enqueue', 'select pg_sleep(600)', '--priority', '0', '--json'], {
    url: db.url(),
  })
  const workers = await waitFor('the task to run', async () => {
    const found = (await status('--json')).json.workers
    return found.some((w: any) => w.state === 'running' && w.task_id === json.id) && found
  })
  expect(workers).toEqual([
    {
      id: expect.any(Number),
      host: expect.any(String),
      pid: expect.any(Number),
      backend_pid: expect.any(Number),
      role: 'pgbq_owner',
      state: 'running',
      task_id: json.id,
      since: expect.stringMatching(/Z$/),
    },
  ])
  const { stdout } = await status()
  expect(stdout).toMatch(/^1 supervisor, 1 worker\n/m)
  expect(stdout).toMatch(new RegExp(`^\\d+ +\\S+/\\d+ +pgbq_owner +task ${json.id} +`, 'm'))
  await db.owner.query('select pg_background_cancel($1)', [json.id])
})
