import { describe, expect, test } from 'vitest'
import { pgbq } from '../support/cli.js'
import { useDatabase } from '../support/database.js'

const db = useDatabase()
const LONG = 'x'.repeat(201)

describe('a mistake in flags, arguments or values', () => {
  test.each([
    [['enqueue'], 'The SQL of the task is missing or blank'],
    [['enqueue', ''], 'The SQL of the task is missing or blank'],
    [['enqueue', ' \n\t'], 'The SQL of the task is missing or blank'],
    [['enqueue', '-'], 'The SQL of the task is missing or blank'],
    [['enqueue', 'select 1', 'more'], 'Nothing expects the argument "more"'],
    [['enqueue', 'x', '--nonsense'], 'No flag is named "--nonsense"'],
    [['enqueue', 'x', '--topic'], '--topic has no value'],
    [['enqueue', 'x', '--topic', 'a', '--topic', 'b'], '--topic is given twice'],
    [['enqueue', 'x', '--topic', LONG], 'Expected a topic of 1 to 200 characters, got 201'],
    [['enqueue', 'x', '--topic', '🎉'.repeat(201)], 'Expected a topic of 1 to 200 characters, got 201'],
    [['enqueue', 'x', '--in', '5', '--run-at', '2030-01-01'], '--in does not go with --run-at'],
    [
      ['enqueue', 'x', '--priority', '1.5'],
      'Expected --priority to be an integer from -2147483648 to 2147483647, got "1.5"',
    ],
    [
      ['enqueue', 'x', '--priority', '2147483648'],
      'Expected --priority to be an integer from -2147483648 to 2147483647, got "2147483648"',
    ],
    [
      ['enqueue', 'x', '--retry-count', '-1'],
      'Expected --retry-count to be an integer from 0 to 1000, got "-1"',
    ],
    [
      ['enqueue', 'x', '--retry-count', '1e99'],
      'Expected --retry-count to be an integer from 0 to 1000, got "1e99"',
    ],
    [
      ['enqueue', 'x', '--timeout', '-3'],
      'Expected --timeout to be a duration such as 500ms, 10s, 5m, 2h or 1d, got "-3"',
    ],
    [['enqueue', 'x', '--timeout', '99999d'], 'Expected --timeout to be at most 24d, got "99999d"'],
    [
      ['enqueue', 'x', '--in', 'soon'],
      'Expected --in to be a duration such as 500ms, 10s, 5m, 2h or 1d, got "soon"',
    ],
    [
      ['enqueue', 'x', '--run-at', '2026-02-30T10:00'],
      'Expected --run-at to be an ISO 8601 time such as 2026-12-24T18:00 or 2026-12-24T18:00+01:00, got "2026-02-30T10:00"',
    ],
    [
      ['enqueue', 'x', '--unique-key', ''],
      'Expected the option "unique_key" to be a text of 1 to 500 characters, got ""',
    ],
    [
      ['enqueue', 'x', '--mode', 'fast'],
      'Expected --mode to be one of auto, transaction, autocommit, got "fast"',
    ],
    [['status', 'abc'], 'Expected the id of a task, got "abc"'],
    [['status', '-5'], 'Expected the id of a task, got "-5"'],
    [['status', '9223372036854775808'], 'Expected the id of a task, got "9223372036854775808"'],
    [
      ['status', '5', '--state', 'failed'],
      'An ID goes with none of --state, --topic, --no-topic and --limit',
    ],
    [
      ['status', '--state', 'gone'],
      'Expected --state to be one of pending, running, retrying, failed, finished, cancelled, got "gone"',
    ],
    [['status', '--limit', '0'], 'Expected --limit to be an integer from 1 to 9999999, got "0"'],
    [['work', '--concurrency', '65'], 'Expected --concurrency to be an integer from 1 to 64, got "65"'],
    [['work', '--warm', 'x'], 'Expected --warm to be an integer from 0 to 64, got "x"'],
    [
      ['work', '--idle-timeout', 'x'],
      'Expected --idle-timeout to be a duration such as 500ms, 10s, 5m, 2h or 1d, got "x"',
    ],
    [
      ['ensure-workers', '--concurrency', 'x'],
      'Expected --concurrency to be an integer from 1 to 64, got "x"',
    ],
    [['config', 'get'], 'The argument "name" is missing'],
    [['config', 'set'], 'The arguments "name" and "value" are missing'],
    [['config', 'set', 'paused', 'yes'], 'Expected paused to be true or false, got "yes"'],
    [
      ['config', 'set', 'retry_count', '-3'],
      'Expected retry_count to be an integer from 0 to 1000, got "-3"',
    ],
    [['config', 'get', 'nope'], 'No parameter is named "nope"'],
    [
      ['config', 'set', 'retention_in_days', '3', '--topic', 'a'],
      `The parameter "retention_in_days" is the whole queue's, no topic has its own`,
    ],
    [['config', 'list', '--topic', LONG], 'Expected a topic of 1 to 200 characters, got 201'],
    [['status', '--database-url', ''], 'Expected --database-url to name a server, got ""'],
    [['status', '--database-url', 'x', '--embedded'], '--database-url does not go with --embedded'],
    [['status', '--config', '/nope.yaml'], 'The configuration file "/nope.yaml" does not exist'],
  ])('ends %j with 2 and says what is wrong', async (args, message) => {
    const { code, stdout, stderr } = await pgbq(args, { url: db.url() })
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    const [first, second, ...rest] = stderr.split('\n')
    expect(first).toBe(`Error: ${message}`)
    expect(second).toMatch(/^Try this: \S/)
    expect(rest).toEqual([''])
  })

  test('is an object on stdout where JSON is asked for', async () => {
    const { code, json, stderr } = await pgbq(['enqueue', 'x', '--nonsense', '--json'], { url: db.url() })
    expect({ code, stderr }).toEqual({ code: 2, stderr: '' })
    expect(json).toEqual({
      error: { code: 'USAGE', message: 'No flag is named "--nonsense"', hint: 'pgbq enqueue --help' },
    })
  })

  test('is not seen in what stands behind "--"', async () => {
    const { code, stdout } = await pgbq(['enqueue', '--', '--json'], { url: db.url() })
    expect(code).toBe(0)
    expect(stdout).toMatch(/^\d+\n$/)
  })
})

describe('SQL on stdin', () => {
  test.each([
    [
      'has a NUL byte',
      'select 1\0',
      'NUL_BYTE',
      'The SQL of the task has a NUL byte, which PostgreSQL cannot hold',
    ],
    ['is blank', ' \n', 'BLANK_SQL', 'The SQL of the task is missing or blank'],
  ])('that %s is refused', async (_, input, code, message) => {
    const result = await pgbq(['enqueue', '-', '--json'], { url: db.url(), input })
    expect(result.code).toBe(2)
    expect(result.json.error).toMatchObject({ code, message, hint: expect.any(String) })
  })

  test('in another encoding is refused, not garbled', async () => {
    const input = Buffer.from("select '\xfc'", 'latin1') as unknown as string
    const { code, stderr } = await pgbq(['enqueue', '-'], { url: db.url(), input })
    expect(code).toBe(2)
    expect(stderr).toMatch(/^Error: The SQL on stdin is not valid UTF-8\nTry this: iconv /)
  })
})

test('an id that does not exist ends with 1', async () => {
  const { code, stdout, stderr } = await pgbq(['status', '99'], { url: db.url() })
  expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
  expect(stderr).toBe('Error: No task has the id 99\nTry this: pgbq status --limit 20\n')
  const { json } = await pgbq(['status', '9007199254740993', '--json'], { url: db.url() })
  expect(json.error).toEqual({
    code: 'UNKNOWN_TASK',
    message: 'No task has the id 9007199254740993',
    hint: 'pgbq status --limit 20',
  })
})

test('a broken configuration file is named, and ends every command with 2', async () => {
  const { mkdtempSync, writeFileSync } = await import('node:fs')
  const cwd = mkdtempSync('/tmp/pgbq-broken-')
  writeFileSync(`${cwd}/.pgbqrc`, '{bad')
  for (const command of ['status', 'work', 'ensure-workers', 'config']) {
    const { code, stdout, stderr } = await pgbq([command], { url: db.url(), cwd })
    expect({ command, code, stdout }).toEqual({ command, code: 2, stdout: '' })
    expect(stderr).toMatch(
      new RegExp(
        `^Error: The configuration file "${cwd}/.pgbqrc" cannot be read: [^\n]+\nTry this: [^\n]+\n$`,
      ),
    )
  }
})
