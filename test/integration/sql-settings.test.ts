import { beforeEach, expect, test } from 'vitest'
import { useDatabase } from '../support/database.js'
import { waitFor } from '../support/wait.js'
import { collectWarnings, emptyQueueBeforeEach, failure, setParameter } from './sql-support.js'

const db = useDatabase()
emptyQueueBeforeEach(db)
beforeEach(async () => {
  await db.admin.query(
    `alter database ${db.name} reset all; alter role pgbq_owner in database ${db.name} reset all`,
  )
})

const onDatabase = (name: string, value: string) =>
  db.admin.query(
    `do $$ begin execute format('alter database %I set pg_background_queue.%s = %L', '${db.name}', '${name}', ${quote(value)}); end $$`,
  )
const onRole = (name: string, value: string) =>
  db.admin.query(
    `do $$ begin execute format('alter role pgbq_owner in database %I set pg_background_queue.%s = %L', '${db.name}', '${name}', ${quote(value)}); end $$`,
  )
const quote = (text: string) => `'${text.replaceAll("'", "''")}'`

const effective = async (lane: string, name: string) => {
  const [row] = await db.owner.query<{ value: string; source: string }>(
    'select value, source from background_queue.effective_values() where lane = $1 and name = $2',
    [lane, name],
  )
  return row
}

test('has every parameter with its built-in value', async () => {
  const rows = await db.owner.query('select * from background_queue.effective_values()')
  const [{ workers }] = (await db.owner.query(
    `select greatest(current_setting('max_worker_processes')::integer / 2, 1)::text as workers`,
  )) as [{ workers: string }]
  expect(Object.fromEntries(rows.map((row) => [row.name, row.value]))).toEqual({
    max_parallel_running_tasks_count: workers,
    retry_count: '0',
    delay_in_sec: '0',
    priority: '100',
    timeout_in_sec: '0',
    retry_max_delay_in_sec: '86400',
    max_worker_deaths: '3',
    max_tasks_per_commit: '1',
    paused: 'false',
    retention_in_days: '30',
    retention_max_tasks: '0',
  })
  expect(new Set(rows.map((row) => `${row.lane}:${row.source}`))).toEqual(new Set([':default']))
})

test('takes the first value found: topic stored, topic_config, stored, server setting, built-in', async () => {
  expect(await effective('', 'retry_count')).toEqual({ value: '0', source: 'default' })
  await onDatabase('retry_count', '1')
  expect(await effective('', 'retry_count')).toEqual({ value: '1', source: 'server' })
  await setParameter(db.owner, '', 'retry_count', '2')
  expect(await effective('', 'retry_count')).toEqual({ value: '2', source: 'stored' })
  expect(await effective('/a', 'retry_count')).toBeUndefined()
  await onDatabase('topic_config', '{"a": {"retry_count": 3}, "b": {"retry_count": "4"}}')
  expect(await effective('/a', 'retry_count')).toEqual({ value: '3', source: 'topic_config' })
  expect(await effective('/b', 'retry_count')).toEqual({ value: '4', source: 'topic_config' })
  await setParameter(db.owner, '/a', 'retry_count', '5')
  expect(await effective('/a', 'retry_count')).toEqual({ value: '5', source: 'stored' })
  const { settings } = await db.owner.one(`select background_queue.topic_settings('b') as settings`)
  expect(settings).toMatch(/^\("",f,f,\d+,4,/)
})

test("lets the role's setting win over the database's, without a new session", async () => {
  await onDatabase('retry_count', '1')
  await onRole('retry_count', '2')
  expect((await effective('', 'retry_count'))?.value).toBe('2')
  await db.admin.query(`alter role pgbq_owner in database ${db.name} reset all`)
  expect((await effective('', 'retry_count'))?.value).toBe('1')
  await db.admin.query(`alter database ${db.name} reset all`)
  expect((await effective('', 'retry_count'))?.value).toBe('0')
})

test('keeps what a session began under after a RESET, and tells a supervisor that it did', async () => {
  await onDatabase('retry_count', '1')
  const session = await db.session()
  const names = () => session.one('select background_queue.role_settings() as names')
  expect(await names()).toEqual({ names: ['pg_background_queue.retry_count'] })
  await db.admin.query(`alter database ${db.name} reset all`)
  expect(await names()).toEqual({ names: [] })
  const [row] = await session.query(
    `select value, source from background_queue.effective_values() where lane = '' and name = 'retry_count'`,
  )
  expect(row).toEqual({ value: '1', source: 'server' })
})

test('sees postgresql.conf after a reload', async () => {
  const seen = async (value: string) =>
    waitFor(
      `retention_max_tasks ${value}`,
      async () => (await effective('', 'retention_max_tasks'))?.value === value,
    )
  await db.admin.query('set pg_background_queue.retention_max_tasks = 0')
  await db.admin.query('alter system set pg_background_queue.retention_max_tasks = 999999999')
  try {
    await db.admin.query('select pg_reload_conf()')
    await seen('999999999')
  } finally {
    await db.admin.query('alter system reset pg_background_queue.retention_max_tasks')
    await db.admin.query('select pg_reload_conf()')
  }
  await seen('0')
})

test('counts an empty text for not set', async () => {
  await onDatabase('retry_count', '')
  await onDatabase('topic_config', '')
  expect(await effective('', 'retry_count')).toEqual({ value: '0', source: 'default' })
  await db.owner.query(`set pg_background_queue.paused = ''`)
  expect(await effective('', 'paused')).toEqual({ value: 'false', source: 'default' })
  expect(await db.owner.query('select * from background_queue.setting_problems()')).toEqual([])
})

test('takes the empty topic and names with quotes of topic_config', async () => {
  await onDatabase(
    'topic_config',
    JSON.stringify({ '': { paused: true }, 'it\'s "x"': { delay_in_sec: 0.5 } }),
  )
  expect(await effective('/', 'paused')).toEqual({ value: 'true', source: 'topic_config' })
  expect((await effective('/it\'s "x"', 'delay_in_sec'))?.value).toBe('0.5')
})

test.each([
  ['retry_count', 'many', 'an integer from 0 to 1000'],
  ['retry_count', '1001', 'an integer from 0 to 1000'],
  ['retry_count', '-1', 'an integer from 0 to 1000'],
  ['retry_count', '1.5', 'an integer from 0 to 1000'],
  ['retry_count', ' 1', 'an integer from 0 to 1000'],
  ['retry_count', '', 'an integer from 0 to 1000'],
  ['retry_count', '1e2', 'an integer from 0 to 1000'],
  ['retry_count', '9'.repeat(40), 'an integer from 0 to 1000'],
  ['delay_in_sec', '-0.1', 'a number from 0 to 86400000'],
  ['delay_in_sec', '10s', 'a number from 0 to 86400000'],
  ['delay_in_sec', 'NaN', 'a number from 0 to 86400000'],
  ['delay_in_sec', 'Infinity', 'a number from 0 to 86400000'],
  ['timeout_in_sec', '2147484', 'a number from 0 to 2147483'],
  ['priority', '2147483648', 'an integer from -2147483648 to 2147483647'],
  ['max_parallel_running_tasks_count', '10001', 'an integer from 0 to 10000'],
  ['retry_max_delay_in_sec', '0', 'an integer from 1 to 2147483647'],
  ['max_tasks_per_commit', '0', 'an integer from 1 to 50'],
  ['paused', '1', 'true or false'],
  ['paused', 'TRUE', 'true or false'],
  ['retention_in_days', '-1', 'a number from 0 to 36500'],
  ['colour', 'red', 'a known parameter'],
])('does not store %s = %j', async (name, value, expected) => {
  const refused = await failure(setParameter(db.owner, '', name, value))
  expect(refused).toMatchObject({
    sqlstate: 'PQ020',
    message: `Expected ${name} to be ${expected}, got "${value}"`,
  })
  expect(await db.owner.query('select from background_queue.settings')).toEqual([])
})

test('does not store for one topic what is the whole queue’s', async () => {
  const refused = await failure(setParameter(db.owner, '/a', 'retention_in_days', '5'))
  expect(refused.sqlstate).toBe('PQ020')
  expect(refused.message).toBe('The parameter retention_in_days is for the whole queue, not for a topic')
})

test('ignores values that cannot be obeyed, names each, and goes on to the next source', async () => {
  await onDatabase('retry_count', 'many')
  await onDatabase('colour', 'red')
  await onDatabase(
    'topic_config',
    '{"a": {"delay_in_sec": "10s", "paused": "perhaps", "retry_count": 2, "colour": 1}, "b": 5, "c": {"retention_in_days": 3}}',
  )
  expect(await effective('', 'retry_count')).toEqual({ value: '0', source: 'default' })
  expect(await effective('/a', 'delay_in_sec')).toBeUndefined()
  expect(await effective('/a', 'retry_count')).toEqual({ value: '2', source: 'topic_config' })
  expect(await effective('/c', 'retention_in_days')).toBeUndefined()
  const problems = await db.owner.query(
    'select source, lane, name, value, expected from background_queue.setting_problems() order by lane, name',
  )
  expect(problems).toEqual([
    { source: 'server', lane: '', name: 'retry_count', value: 'many', expected: 'an integer from 0 to 1000' },
    { source: 'topic_config', lane: '/a', name: 'colour', value: '1', expected: 'a known parameter' },
    {
      source: 'topic_config',
      lane: '/a',
      name: 'delay_in_sec',
      value: '10s',
      expected: 'a number from 0 to 86400000',
    },
    { source: 'topic_config', lane: '/a', name: 'paused', value: 'perhaps', expected: 'true or false' },
    { source: 'topic_config', lane: '/b', name: null, value: '5', expected: 'an object of parameters' },
    {
      source: 'topic_config',
      lane: '/c',
      name: 'retention_in_days',
      value: '3',
      expected: 'no topic of its own',
    },
  ])
})

test('ignores a topic_config that is no JSON, with a warning and a problem', async () => {
  const warnings = collectWarnings(db.owner)
  await onDatabase('topic_config', '{"a": ')
  await db.owner.query('select background_queue.sync_lanes()')
  expect(warnings[0]).toMatch('pg_background_queue.topic_config is ignored: it is not valid JSON')
  const problems = await db.owner.query(
    'select source, value, expected from background_queue.setting_problems()',
  )
  expect(problems).toEqual([{ source: 'topic_config', value: '{"a": ', expected: 'a JSON object of topics' }])
})

test('ignores what any other session sets', async () => {
  const session = await db.session('pgbq_alice')
  await session.query('set pg_background_queue.retry_count = 9')
  expect((await effective('', 'retry_count'))?.value).toBe('0')
})
