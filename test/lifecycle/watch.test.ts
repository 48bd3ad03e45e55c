import { spawn } from 'node:child_process'
import { beforeAll, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest'
import { environment, pgbq, RUN, startWork } from '../support/cli.js'
import { useDatabase } from '../support/database.js'
import { noTerminals, openShell, openTerminal } from '../support/terminal.js'
import { waitFor } from '../support/wait.js'

vi.setConfig({ testTimeout: 60_000 })

const db = useDatabase()
const reason = noTerminals()

const enqueue = async (sql: string, topic: string | null, options = '{}') =>
  (
    await db.owner.one<{ id: bigint }>('select pg_background_enqueue($1, $2, $3) as id', [
      sql,
      topic,
      options,
    ])
  ).id
const stateOf = async (id: bigint) =>
  (await db.owner.one<{ state: string }>('select state from pg_background_tasks where id = $1', [id])).state

let failed: bigint

beforeAll(async () => {
  failed = await enqueue('select 1/0', 'mail')
  await enqueue('select 1', 'mail')
  await pgbq(['work', '--drain', '--warm', '1'], { url: db.url() })
  await enqueue(`select '漢字 שלום ${'x'.repeat(1_000_000)}'`, 'größe 漢字', '{"run_at": "2090-01-01"}')
})

describe('status --watch in a terminal', () => {
  beforeEach((ctx) => void (reason && ctx.skip(reason)))
  const watch = (size = {}) => openTerminal(['status', '--watch'], { url: db.url(), ...size })

  test.each([
    [80, 24],
    [200, 50],
  ])('shows topics, counts and what to press in %i columns and %i rows', async (columns, rows) => {
    const terminal = watch({ columns, rows })
    const lines = await terminal.shows(/^ mail .* 1 +1 +0( |$)[\s\S]*q quit$/m)
    expect(lines[0]).toMatch(/^ pgbq {2}database "pgbq_test_.* UTC$/)
    expect(lines.join('\n')).toMatch(/^>all topics +1 +0\/\d+ +0 +1 +1 +0/m)
    expect(lines.join('\n')).toMatch(/^ größe 漢字 +1 /m)
    expect(lines[rows - 1]).toMatch(/q quit$/)
    expect(terminal.isAlternate()).toBe(true)
  })

  test('goes to a topic, a task and back, and retries one only after y', async () => {
    const terminal = watch()
    await terminal.shows(/^ mail /m)
    terminal.type('/mai')
    await terminal.shows(/^ Topics with: mai_/m)
    terminal.press('Enter', 'Enter')
    await terminal.shows(/^ Tasks of mail, all states/m)
    await terminal.shows(new RegExp(`^. *${failed} failed .* select 1/0`, 'm'))
    terminal.type('sss')
    await terminal.shows(/^ Tasks of mail, failed\n.*\n>/m)
    terminal.press('Enter')
    await terminal.shows(/^ ERROR 22012: division by zero/m)
    terminal.type('rn')
    await terminal.shows(/^ Nothing was done/m)
    expect(await stateOf(failed)).toBe('failed')
    terminal.type('r')
    await terminal.shows(new RegExp(`^ Retry task ${failed}, which is failed\\? y yes`, 'm'))
    terminal.type('y')
    await terminal.shows(new RegExp(`^ Task ${failed} is pending again`, 'm'))
    await terminal.shows(new RegExp(`^ Task ${failed} pending`, 'm'))
    terminal.press('Escape')
    await terminal.shows(/^ Tasks of mail/m)
    await db.owner.query('select pg_background_cancel($1)', [failed])
    terminal.type('q')
    await terminal.shows(/^before\nleft with 0$/m)
  })

  test('shows what each worker runs, and cancels it', async () => {
    await startWork(['--concurrency', '2'], { url: db.url() })
    const id = await enqueue('select pg_sleep(600)', 'slow')
    const terminal = watch()
    await terminal.shows(new RegExp(`^ +\\d+ \\S+ +${id} slow .* m?s select`, 'm'))
    terminal.type('w')
    await terminal.shows(new RegExp(`^> +\\d+ \\S+ +${id} slow`, 'm'))
    terminal.type('cy')
    await terminal.shows(new RegExp(`^ Task ${id} is to end`, 'm'))
    await waitFor('the task to be cancelled', async () => (await stateOf(id)) === 'cancelled')
    await terminal.shows(/^.*2 idle, 0 of \d+ running/m)
  })

  test('says that the database is away, and comes back by itself', async () => {
    const terminal = watch()
    await terminal.shows(/^ mail /m)
    const letIn = (count: number) => db.admin.query(`alter database ${db.name} connection limit ${count}`)
    await letIn(0)
    await db.admin.query(`select pg_terminate_backend(pid) from pg_stat_activity
      where datname = current_database() and application_name = 'pgbq'`)
    await terminal.shows(/^ No news for \d+ s, trying again: .*/m)
    await letIn(-1)
    const lines = await terminal.shows(/^ pgbq {2}database .* UTC$/m)
    expect(lines.join('\n')).toMatch(/^ mail /m)
  })

  test.each(['SIGTERM', 'SIGHUP', 'SIGINT'] as const)('gives the terminal back on %s', async (signal) => {
    const terminal = watch()
    await terminal.shows(/^ mail /m)
    process.kill(terminal.pid(), signal)
    await terminal.shows(/^before\nleft with 0$/m)
    expect(terminal.isAlternate()).toBe(false)
  })

  test('gives the terminal back when it breaks', async () => {
    const code = `setTimeout(() => { throw new Error('broken on purpose') }, 1500)`
    const broken = `data:text/javascript,${encodeURIComponent(code)}`
    const terminal = openTerminal(['status', '--watch'], {
      url: db.url(),
      env: { NODE_OPTIONS: `--import=${broken}` },
    })
    await terminal.shows(/^ mail /m)
    await terminal.shows(/Error: broken on purpose[\s\S]*^left with [1-9]\d*$/m)
    expect(terminal.isAlternate()).toBe(false)
  })

  test('leaves at once, with the reason, where it may not look', async () => {
    await db.owner.query(`grant select on background_queue.installed to pgbq_alice`)
    await db.owner.query(`grant usage on schema background_queue to pgbq_alice`)
    const terminal = openTerminal(['status', '--watch'], { url: db.url('pgbq_alice'), columns: 200 })
    await terminal.shows(/^before\nError: .*\nTry this: .*\nleft with 1$/m)
  })

  test('gives the terminal to the shell at Ctrl-Z, and takes it again at fg', async () => {
    const line = `'${process.execPath}' '${RUN}' status --watch`
    const terminal = openShell(`set -m; ${line}; echo stopped; read -r next; fg; echo "left with $?"`, {
      url: db.url(),
    })
    await terminal.shows(/^ mail /m)
    terminal.press('C-z')
    await terminal.shows(/^before\n(.*\n)*stopped$/m)
    expect(terminal.isAlternate()).toBe(false)
    terminal.press('Enter')
    await terminal.shows(/^ mail .*[\s\S]* q quit$/m)
    expect(terminal.isAlternate()).toBe(true)
    terminal.type('q')
    await terminal.shows(/^left with 0$/m)
  })

  test('prints lines where the terminal knows no screen, and has no colour under NO_COLOR', async () => {
    const line = `TERM=dumb '${process.execPath}' '${RUN}' status --watch`
    const dumb = openShell(line, { url: db.url(), columns: 200 })
    await dumb.shows(/^before\n\d{4}-\S+Z pending \d+ .*\n\d{4}-/m)
    const plain = openTerminal(['status', '--watch'], { url: db.url(), env: { NO_COLOR: '1' } })
    await plain.shows(/^ mail /m)
    expect(plain.colors()).not.toContain('\u001b[3')
  })

  test('draws anew when the terminal is resized, and stops at Ctrl-C', async () => {
    const terminal = watch()
    await terminal.shows(/^ mail /m)
    terminal.resize(130, 30)
    await terminal.shows(/waiting limit +ended in the last minute$/m)
    terminal.resize(50, 12)
    await terminal.shows(/^ topic +pending running failed finished waiting$/m)
    terminal.press('C-c')
    await terminal.shows(/^left with 0$/m)
  })
})

describe('status --watch without a terminal', () => {
  async function firstLines(args: string[]): Promise<{ lines: string[]; code: number | null }> {
    const child = spawn(process.execPath, [RUN, 'status', '--watch', ...args], {
      env: environment({ url: db.url() }),
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    onTestFinished(() => void child.kill('SIGKILL'))
    const exited = new Promise<number | null>((resolve) => child.on('close', resolve))
    let output = ''
    child.stdout.setEncoding('utf8').on('data', (chunk) => {
      output += chunk
    })
    await waitFor('two lines', () => output.split('\n').length > 2)
    child.kill('SIGTERM')
    return { code: await exited, lines: output.trim().split('\n') }
  }

  test('prints a line a second, and leaves on SIGTERM', async () => {
    const { lines, code } = await firstLines([])
    expect(code).toBe(0)
    for (const line of lines)
      expect(line).toMatch(/^\d{4}-\S+Z pending \d+ running 0 retrying 0 failed \d+ finished \d+ /)
  })

  test('prints an object a line with --json', async () => {
    const { lines } = await firstLines(['--json'])
    expect(JSON.parse(lines[0]!)).toMatchObject({
      states: { running: 0, finished: expect.any(Number) },
      estimated: [],
      limit: expect.any(Number),
      oldest_due_sec: null,
    })
  })

  test('stops when nobody reads any more', async () => {
    const shell = spawn('/bin/sh', ['-c', `'${process.execPath}' '${RUN}' status --watch | head -n 1`], {
      env: environment({ url: db.url() }),
      stdio: 'ignore',
    })
    expect(await new Promise((resolve) => shell.on('close', resolve))).toBe(0)
  })

  test.each([[['5']], [['--topic', 'mail']], [['--output', 'csv']]])('refuses %j beside it', async (args) => {
    const { code, stderr } = await pgbq(['status', '--watch', ...args], { url: db.url() })
    expect({ code, stderr }).toEqual({
      code: 2,
      stderr: expect.stringContaining('--watch shows the whole queue'),
    })
  })
})
