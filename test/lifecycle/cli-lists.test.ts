import { spawn } from 'node:child_process'
import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { destroyEmbedded } from '../../src/embedded/server.js'
import { pgbq } from '../support/cli.js'
import { useDatabase } from '../support/database.js'
import { noTerminals, openTerminal } from '../support/terminal.js'

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 })

const db = useDatabase()
const run = (...args: string[]) => pgbq(args, { url: db.url() })

beforeAll(async () => {
  await db.owner.query(`select pg_background_enqueue(E'select "a",\n1', 'mail')`)
  await db.owner.query(`select pg_background_enqueue('select 2')`)
  await run('config', 'set', 'retry_count', '3', '--topic', 'mail')
})

describe('--output', () => {
  test('csv of status is a line for each topic', async () => {
    const { stdout } = await run('status', '--output', 'csv')
    expect(stdout.split('\n')).toEqual([
      'topic,pending,running,retrying,failed,finished,cancelled,limit,delay_in_sec,paused',
      expect.stringMatching(/^,1,0,0,0,0,0,\d+,0,false$/),
      expect.stringMatching(/^mail,1,0,0,0,0,0,\d+,0,false$/),
      '',
    ])
  })

  test('csv of tasks has the columns of the table, also where there are none', async () => {
    const { stdout } = await run('status', '--limit', '5', '--output', 'csv')
    const head = stdout.split('\n')[0]!
    expect(head).toMatch(/^id,sql_statement,topic,joined_at,started_at,closed_at,priority,state,retry_count,/)
    expect(stdout).toContain('1,"select ""a"",\n1",mail,')
    expect(stdout).not.toContain('token_hash')
    expect((await run('status', '--topic', 'none', '--output', 'csv')).stdout).toBe(`${head}\n`)
    expect((await run('status', '2', '--output', 'csv')).stdout).toMatch(new RegExp(`^${head}\n2,select 2,,`))
  })

  test('csv of config tells the queue from tasks without topic', async () => {
    await run('config', 'set', 'retry_count', '1', '--no-topic')
    const { stdout } = await run('config', '--output', 'csv')
    expect(stdout).toMatch(/^name,topic,value,source\n/)
    expect(stdout).toMatch(/^retry_count,,0,default$/m)
    expect(stdout).toMatch(/^retry_count,"",1,stored$/m)
    expect(stdout).toMatch(/^retry_count,mail,3,stored$/m)
  })

  test('json is what --json is, for errors too', async () => {
    expect((await run('config', '--output', 'json')).stdout).toBe((await run('config', '--json')).stdout)
    expect((await run('status', '--output=json', '--limit', '0')).json.error.code).toBe('INVALID_VALUE')
    expect(await run('status', '--json', '--output', 'csv')).toMatchObject({ code: 2 })
  })
})

test('times are instants, or distances where that is asked for', async () => {
  expect((await run('status', '--limit', '1')).stdout).toMatch(/\d{4}-\d\d-\d\d \d\d:\d\d:\d\d/)
  expect((await run('status', '--limit', '1', '--time', 'relative')).stdout).toMatch(/ [\d.]+ m?s ago /)
  expect((await run('status', '1', '--time', 'relative')).stdout).toMatch(
    /^joined_at +\d{4}-\S+Z \([\d.]+ m?s ago\)$/m,
  )
})

describe('what is nearly right is told', () => {
  test.each([
    [['status', '--tpic', 'x'], 'pgbq status --topic, or pgbq status --help'],
    [['work', '--drian'], 'pgbq work --drain, or pgbq work --help'],
    [['status', '--nonsense'], 'pgbq status --help'],
    [['stauts'], 'pgbq status, or pgbq help'],
    [['log', '58'], 'pgbq logs, or pgbq help'],
    [['enqeue', 'select 1'], 'pgbq enqueue, or pgbq help'],
    [['config', 'gte', 'retry_count'], 'pgbq config get, or pgbq help'],
    [['config', 'sett'], 'pgbq config set, or pgbq help'],
    [['xyzzy'], 'pgbq help'],
    [['config', 'get', 'retry_coutn'], 'pgbq config get retry_count, or pgbq config'],
  ])('for %j', async (args, hint) => {
    const { code, stderr } = await run(...args)
    expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringContaining(`\nTry this: ${hint}\n`) })
  })
})

test('help comes in the order of a man page', async () => {
  const { stdout } = await run('status', '--help')
  const headings = stdout.split('\n').filter((line) => /^[A-Z][A-Z ]+$/.test(line))
  expect(headings).toEqual(['USAGE', 'DESCRIPTION', 'ARGUMENTS', 'FLAGS', 'GLOBAL FLAGS', 'EXAMPLES'])
})

describe('embedded psql and destroy', () => {
  const home = mkdtempSync(join(tmpdir(), 'pgbq-home-'))
  chmodSync(home, 0o755)
  const env = { PGBQ_EMBEDDED_HOME: home }
  const hasPsql = () =>
    new Promise<boolean>((resolve) => {
      const child = spawn('psql', ['--version'], { stdio: 'ignore' })
      child.on('error', () => resolve(false))
      child.on('exit', (code) => resolve(code === 0))
    })

  beforeAll(async () => void (await pgbq(['embedded', 'start'], { env })))
  afterAll(async () => {
    await destroyEmbedded({ home })
    rmSync(home, { recursive: true, force: true })
  })

  test('psql runs on it with the arguments behind --, and its exit code is ours', async (ctx) => {
    if (!(await hasPsql())) return ctx.skip('there is no psql')
    const good = await pgbq(['embedded', 'psql', '--', '-XAtc', 'select current_database()'], {
      env: { ...env, PGHOST: 'elsewhere.invalid', PGSERVICE: 'other' },
    })
    expect(good).toMatchObject({ code: 0, stdout: 'pgbq\n' })
    expect((await pgbq(['embedded', 'psql', '--', '-Xc', 'select 1/0'], { env })).code).toBe(1)
  })

  test('psql that is missing is told, with the way out', async () => {
    const { code, stderr } = await pgbq(['embedded', 'psql'], { env: { ...env, PATH: '/nonexistent' } })
    expect(code).toBe(1)
    expect(stderr).toMatch(/^Error: There is no program "psql" .*\nTry this: install .*postgresql:\/\//)
  })

  test('destroy asks on a terminal, and elsewhere wants --yes', async (ctx) => {
    const refused = await pgbq(['embedded', 'destroy'], { env })
    expect(refused).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('Try this: pgbq embedded destroy --yes'),
    })
    expect((await pgbq(['embedded', 'status', '--json'], { env })).json.running).toBe(true)
    const reason = noTerminals()
    if (reason) return ctx.skip(reason)
    const terminal = openTerminal(['embedded', 'destroy'], { env, columns: 200 })
    await terminal.shows(/Delete all data in .* Type "yes"/)
    terminal.type('y')
    terminal.press('Enter')
    await terminal.shows(/Nothing was deleted\nleft with 1/)
    const left = openTerminal(['embedded', 'destroy'], { env, columns: 200 })
    await left.shows(/Type "yes"/)
    left.press('C-d')
    await left.shows(/Nothing was deleted\nleft with 1/)
    expect((await pgbq(['embedded', 'status', '--json'], { env })).json.running).toBe(true)
  })

  test('destroy --yes leaves nothing, and says so when nothing is there', async () => {
    const data_dir = expect.stringContaining(home)
    expect((await pgbq(['embedded', 'destroy', '--yes', '--json'], { env })).json).toEqual({
      destroyed: true,
      data_dir,
    })
    expect((await pgbq(['embedded', 'status', '--json'], { env })).json.running).toBe(false)
    expect((await pgbq(['embedded', 'destroy', '--json'], { env })).json).toEqual({
      destroyed: false,
      data_dir,
    })
  })
})
