import { beforeEach, expect, test } from 'vitest'
import type { Database } from '../../src/engine/database/database.js'
import { useDatabase } from '../support/database.js'
import { collectWarnings, emptyQueueBeforeEach, enqueue, findTask, setParameter } from './sql-support.js'

const db = useDatabase()
emptyQueueBeforeEach(db)

let session: Database
let warnings: string[]
beforeEach(async () => {
  session = await db.session()
  warnings = collectWarnings(session)
})

const topicConfig = (text: string) =>
  session.query(`select set_config('pg_background_queue.topic_config', $1, false)`, [text])

const priorityOf = async (topic: string | null, options: object | null = null): Promise<number> =>
  (await findTask(db, await enqueue(session, 'select 1', topic, options))).priority

test('takes the first priority found: option, topic stored, topic_config, stored, server setting, 100', async () => {
  await setParameter(db.owner, '/a', 'priority', '2')
  await topicConfig('{"a": {"priority": 3}}')
  await setParameter(db.owner, '', 'priority', '4')
  await session.query(`set pg_background_queue.priority = '5'`)

  expect(await priorityOf('a', { priority: 1 })).toBe(1)
  expect(await priorityOf('a')).toBe(2)
  await setParameter(db.owner, '/a', 'priority', null)
  expect(await priorityOf('a')).toBe(3)
  await topicConfig('')
  expect(await priorityOf('a')).toBe(4)
  await setParameter(db.owner, '', 'priority', null)
  expect(await priorityOf('a')).toBe(5)
  await session.query('reset pg_background_queue.priority')
  expect(await priorityOf('a')).toBe(100)
  expect(warnings).toEqual([])
})

test('keeps the priority that a task got when the setting changes', async () => {
  const id = await enqueue(session)
  await setParameter(db.owner, '', 'priority', '7')
  expect((await findTask(db, id)).priority).toBe(100)
})

test('takes a stored priority of tasks without topic for the empty topic too', async () => {
  await setParameter(db.owner, '/', 'priority', '9')
  expect(await priorityOf(null)).toBe(9)
  expect(await priorityOf('')).toBe(9)
  expect(await priorityOf('a')).toBe(100)
})

test('finds topics with quotes, blanks and all scripts in topic_config', async () => {
  await topicConfig(JSON.stringify({ 'it\'s "a"': { priority: 1 }, '日本 語': { priority: 2 } }))
  expect(await priorityOf('it\'s "a"')).toBe(1)
  expect(await priorityOf('日本 語')).toBe(2)
  expect(await priorityOf('日本')).toBe(100)
})

test.each([
  ['cut JSON', '{"a": {"priority": 1'],
  ['single quotes', "{'a': {'priority': 1}}"],
  ['a list', '[{"priority": 1}]'],
  ['a number', '5'],
  ['null', 'null'],
  ['a NUL character', '{"a": {"priority": "\\u0000"}}'],
  ['nesting without end', '['.repeat(100_000)],
])('ignores a topic_config of %s with a warning that names it', async (_, text) => {
  await topicConfig(text)
  expect(await priorityOf('a')).toBe(100)
  expect(warnings).toHaveLength(1)
  expect(warnings[0]).toMatch('pg_background_queue.topic_config is ignored')
})

test.each(['"high"', '1.5', '99999999999', 'true', '{}', '"1e3"', '""'])(
  'ignores the priority %s in topic_config with a warning that names it',
  async (value) => {
    await topicConfig(`{"a": {"priority": ${value}}}`)
    expect(await priorityOf('a')).toBe(100)
    expect(warnings).toHaveLength(1)
    expect(warnings[0]).toMatch(`The priority "${value.replaceAll('"', '')}" of topic "a"`)
    expect(warnings[0]).toMatch('expected an integer from -2147483648 to 2147483647')
  },
)

test('names tasks without topic when their priority in topic_config is ignored', async () => {
  await topicConfig('{"": {"priority": "high"}}')
  expect(await priorityOf(null)).toBe(100)
  expect(warnings[0]).toMatch('The priority "high" of topic ""')
})

test.each(['{"a": 5}', '{"a": null}', '{"a": []}', '{"a": {"priority": null}}', '{"b": {"priority": 1}}'])(
  'goes on to the next source when topic_config %s gives the topic no priority',
  async (text) => {
    await setParameter(db.owner, '', 'priority', '4')
    await topicConfig(text)
    expect(await priorityOf('a')).toBe(4)
  },
)

test.each(['high', '1.5', '99999999999', ' 5'])(
  'ignores the server setting priority "%s" with a warning that names it',
  async (value) => {
    await session.query(`select set_config('pg_background_queue.priority', $1, false)`, [value])
    expect(await priorityOf(null)).toBe(100)
    expect(warnings).toEqual([
      `pg_background_queue.priority "${value}" is ignored: expected an integer from -2147483648 to 2147483647`,
    ])
  },
)
