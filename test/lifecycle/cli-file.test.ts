import { execFileSync } from 'node:child_process'
import { mkdtempSync, writeFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeEach, describe, expect, test } from 'vitest'
import { pgbq } from '../support/cli.js'
import { useDatabase } from '../support/database.js'

const db = useDatabase()
const cwd = mkdtempSync(join(tmpdir(), 'pgbq-file-'))

beforeEach(() => void db.owner.query('truncate pg_background_tasks restart identity'))

function run(name: string, content: string | Buffer, args: string[] = []) {
  writeFileSync(join(cwd, name), content)
  return pgbq(['enqueue', '--file', name, ...args], { url: db.url(), cwd })
}
const rows = () =>
  db.owner.query('select sql_statement, topic, priority from pg_background_tasks order by id')

describe('a file of statements', () => {
  test('becomes one task a line, blank lines left out', async () => {
    const { code, stdout, stderr } = await run('a.sql', 'select 1\n\n  \nselect 2;\n', ['--topic', 'bulk'])
    expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: '2 tasks, ids 1 to 2\n', stderr: '' })
    expect(await rows()).toEqual([
      { sql_statement: 'select 1', topic: 'bulk', priority: 100 },
      { sql_statement: 'select 2;', topic: 'bulk', priority: 100 },
    ])
  })

  test('prints first, last and count as JSON', async () => {
    const { json } = await run('a.sql', 'select 1\nselect 2\nselect 3', ['--json'])
    expect(json).toEqual({ ids: { first: 1, last: 3, count: 3 } })
  })

  test('may have one line or none', async () => {
    expect((await run('one.sql', 'select 1')).stdout).toBe('1 task, id 1\n')
    expect((await run('none.sql', '\n\n')).stdout).toBe('Nothing was added\n')
    expect((await run('none.sql', '', ['--json'])).json).toEqual({
      ids: { first: null, last: null, count: 0 },
    })
  })

  test('may come from Windows, with a mark at its beginning and CRLF', async () => {
    await run('dos.sql', '\ufeffselect 1;\r\nselect 2;\r\n')
    expect((await rows()).map((r) => r.sql_statement)).toEqual(['select 1;', 'select 2;'])
  })

  test('may hold line ends of other kinds inside a line', async () => {
    const line = `select 'a\u2028b\rc'`
    await run('odd.sql', `${line}\nselect 2`)
    expect((await rows())[0]!.sql_statement).toBe(line)
  })

  test('of more lines than one batch is one transaction', async () => {
    const lines = Array.from({ length: 12_345 }, (_, i) => `select ${i}`).join('\n')
    expect((await run('many.sql', lines)).stdout).toBe('12345 tasks, ids 1 to 12345\n')
  })

  test('may be a pipe', async () => {
    execFileSync('mkfifo', [join(cwd, 'pipe')])
    const written = writeFile(join(cwd, 'pipe'), 'select 1\nselect 2\n')
    const { stdout } = await pgbq(['enqueue', '--file', 'pipe'], { url: db.url(), cwd })
    await written
    expect(stdout).toBe('2 tasks, ids 1 to 2\n')
  })
})

describe('a .jsonl file', () => {
  test('gives each task its own topic and options, over those of the flags', async () => {
    const lines = [
      { sql: 'select 1', topic: 'own', priority: 5 },
      { sql: '-- x\nselect 2', topic: null },
    ]
    const { code } = await run('a.jsonl', lines.map((l) => JSON.stringify(l)).join('\n'), [
      ...['--topic', 'common', '--priority', '9'],
    ])
    expect(code).toBe(0)
    expect(await rows()).toEqual([
      { sql_statement: 'select 1', topic: 'own', priority: 5 },
      { sql_statement: '-- x\nselect 2', topic: 'common', priority: 9 },
    ])
  })

  const nine = (seventh: string): string =>
    Array.from({ length: 9 }, (_, i) => (i === 6 ? seventh : '{"sql": "select 1"}')).join('\n')

  test.each([
    ['{"sql": "select 1"', /it is not valid JSON: /],
    ['["select 1"]', /it is no JSON object/],
    ['null', /it is no JSON object/],
    ['{"topic": "a"}', /"sql" is missing or blank/],
    ['{"sql": " "}', /"sql" is missing or blank/],
    ['{"sql": null}', /"sql" is missing or blank/],
    ['{"sql": 5}', /"sql" is missing or blank/],
    ['{"sql": "a\\u0000b"}', /"sql" has a NUL byte/],
    ['{"sql": "a", "topic": "\\u0000"}', /"topic" has a NUL byte/],
    ['{"sql": "a", "unique_key": "\\u0000"}', /"unique_key" has a NUL byte/],
    [`{"sql": "a", "topic": "${'x'.repeat(201)}"}`, /"topic" is no text of 1 to 200 characters/],
    ['{"sql": "a", "topic": 5}', /"topic" is no text of 1 to 200 characters/],
    ['{"sql": "a", "retries": 5}', /the key "retries" is not known/],
    ['{"sql": "a", "priority": "high"}', /"priority" to be an integer/],
    ['{"sql": "a", "priority": 99999999999}', /"priority" to be an integer/],
    ['{"sql": "a", "priority": 1e999}', /"priority" is too large a number/],
    ['{"sql": "a", "max_retries": -1}', /"max_retries" to be an integer from 0 to 1000/],
    ['{"sql": "a", "run_at": "soon"}', /"run_at" to be a time/],
    ['{"sql": "a", "mode": "fast"}', /"mode"/],
  ])('with line 7 of 9 as %s names that line and adds nothing', async (line, problem) => {
    const { code, stdout, stderr } = await run('bad.jsonl', nine(line))
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    expect(stderr).toMatch(
      /^Error: Line 7 of "bad.jsonl" cannot be enqueued: [^\n]*\. Nothing was enqueued\nTry this: [^\n]+\n$/,
    )
    expect(stderr).toMatch(problem)
    expect(await rows()).toEqual([])
  })

  test.each([
    ['only the server finds wrong, in a later batch', { 5003: '{"sql": "a", "priority": "high"}' }, 5003],
    ['is wrong before one that is found sooner', { 7: '{"sql": "a", "mode": "fast"}', 5001: 'x' }, 7],
    ['is wrong in a later batch than the last that was sent', { 12000: 'x' }, 12_000],
  ])('names the line of thousands that %s, and adds nothing', async (_, wrong: object, number) => {
    const lines = Array.from({ length: 12_001 }, () => '{"sql": "select 1"}')
    for (const [at, line] of Object.entries(wrong)) lines[Number(at) - 1] = line
    const { code, stderr } = await run('bad.jsonl', lines.join('\n'))
    expect(stderr).toContain(`Error: Line ${number} of "bad.jsonl" cannot be enqueued: `)
    expect(code).toBe(2)
    expect(await rows()).toEqual([])
  })

  test('says so as JSON as well', async () => {
    const { code, json } = await run('bad.jsonl', nine('{"sql": "a", "priority": "high"}'), ['--json'])
    expect(code).toBe(2)
    expect(json.error).toMatchObject({ code: 'BAD_LINE', message: expect.stringContaining('Line 7 of') })
  })
})

describe('a line that cannot be enqueued', () => {
  test.each([
    ['no whole statement', 'select 1\ncreate table t (\n a int);\n', 2, 'it is no whole statement'],
    ['only a comment', 'select 1\n-- x\n', 2, 'it is no whole statement'],
    ['a NUL byte', 'select 1\nselect 2\0\n', 2, 'it has a NUL byte'],
    [
      'bytes of another encoding',
      Buffer.from("select 1\nselect '\xfc'\n", 'latin1'),
      2,
      'it is not valid UTF-8',
    ],
  ])('because it is or has %s is named, and nothing is added', async (_, content, number, problem) => {
    const { code, stdout, stderr } = await run('bad.sql', content)
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    expect(stderr).toContain(
      `Error: Line ${number} of "bad.sql" cannot be enqueued: ${problem}. Nothing was enqueued\n`,
    )
    expect(await rows()).toEqual([])
  })

  test('offers stdin where the file may be one task', async () => {
    const { stderr } = await run('bad.sql', 'create table t (\n a int);\n')
    expect(stderr).toContain('Try this: pgbq enqueue - < bad.sql')
  })

  test('in a later batch takes the batches before it back', async () => {
    const lines = Array.from({ length: 6000 }, (_, i) =>
      JSON.stringify({ sql: 'select 1', priority: i === 5500 ? 'x' : i }),
    )
    const { stderr } = await run('late.jsonl', lines.join('\n'))
    expect(stderr).toContain('Line 5501 of "late.jsonl"')
    expect(await rows()).toEqual([])
  })
})

test.each([
  ['nope.sql', 'The file "nope.sql" does not exist'],
  ['/', '"/" is a folder, not a file'],
  ['', 'The file "" does not exist'],
])('--file "%s" ends with 1', async (file, message) => {
  const { code, stdout, stderr } = await pgbq(['enqueue', '--file', file], { url: db.url(), cwd })
  expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
  expect(stderr).toMatch(`Error: ${message}\n`)
})

test.each([['select 1'], ['--wait'], ['--unique-key', 'k']])(
  '--file does not go with %s',
  async (...args) => {
    const { code, stderr } = await run('a.sql', 'select 1', args)
    expect(code).toBe(2)
    expect(stderr).toBe(
      'Error: --file goes with none of SQL, --wait and --unique-key\nTry this: pgbq enqueue --help\n',
    )
  },
)
