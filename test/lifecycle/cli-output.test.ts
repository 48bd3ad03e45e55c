import { execFile, execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { beforeEach, describe, expect, test, vi } from 'vitest'
import { pgbq, startWork } from '../support/cli.js'
import { useDatabase } from '../support/database.js'

vi.setConfig({ testTimeout: 90_000 })

const db = useDatabase()
const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const ESCAPE = '\u001b['
const hasScript = existsSync('/usr/bin/script') && process.platform === 'linux'

/** What a terminal of 80 columns shows, stdout and stderr together. */
async function inTerminal(args: string[], env: Record<string, string> = {}): Promise<string> {
  const quoted = [process.execPath, `${ROOT}/bin/run.js`, ...args]
    .map((a) => `'${a.replaceAll("'", `'\\''`)}'`)
    .join(' ')
  const { stdout } = await promisify(execFile)(
    '/usr/bin/script',
    ['-qec', `stty cols 80 rows 24; ${quoted}`, '/dev/null'],
    {
      env: { PATH: process.env.PATH, HOME: '/nonexistent', TERM: 'xterm', DATABASE_URL: db.url(), ...env },
    },
  )
  return stdout.replaceAll('\r\n', '\n')
}

describe('in a terminal', () => {
  beforeEach((ctx) => hasScript || ctx.skip('there is no program "script" to make a terminal'))

  test('enqueue hints at workers while no supervisor lives, and only then', async () => {
    expect(await inTerminal(['enqueue', 'select 1'])).toMatch(
      /^\d+\nNo supervisor is alive\. Try this: pgbq work\n$/,
    )
    expect(await inTerminal(['enqueue', 'select 1', '--json'])).not.toContain('No supervisor')
    await startWork(['--concurrency', '1'], { url: db.url() })
    expect(await inTerminal(['enqueue', 'select 1'])).toMatch(/^\d+\n$/)
  })

  test('status has colours, unless NO_COLOR is set', async () => {
    expect(await inTerminal(['status'])).toContain(ESCAPE)
    expect(await inTerminal(['status'], { NO_COLOR: '1' })).not.toContain(ESCAPE)
  })

  test('tables fit in 80 columns, however long topics and statements are', async () => {
    await db.owner.query('select pg_background_enqueue($1, $2)', [
      `select '${'漢'.repeat(100)}'`,
      'topic '.repeat(30),
    ])
    for (const args of [['status'], ['status', '--limit', '5'], ['config']]) {
      const lines = (await inTerminal(args, { NO_COLOR: '1' })).split('\n')
      expect(lines.filter((line) => line.replace(/[漢]/g, '漢漢').length > 80)).toEqual([])
    }
  })
})

test('without a terminal there is no colour, no progress and no hint', async () => {
  const env = { NO_COLOR: undefined }
  for (const args of [['enqueue', 'select 1'], ['status'], ['config'], ['status', '--limit', '3']]) {
    const { stdout, stderr } = await pgbq(args, { url: db.url(), env })
    expect(stdout + stderr).not.toContain(ESCAPE)
    expect(stderr).toBe('')
  }
})

test('calibrate says what it found, as text and as JSON', async () => {
  const url = db.url()
  await pgbq(['calibrate'], { url })
  expect((await pgbq(['calibrate'], { url })).stdout).toBe('0 tasks running, nothing to repair\n')
  expect((await pgbq(['calibrate', '--json'], { url })).json).toEqual({
    before: 0,
    after: 0,
    rescued: [],
    pruned: 0,
  })
})

test('every command has help with an example, and the flags that all share', async () => {
  const manifest = JSON.parse(execFileSync('cat', [`${ROOT}/oclif.manifest.json`], { encoding: 'utf8' }))
  for (const [id, command] of Object.entries<any>(manifest.commands)) {
    expect({ id, examples: command.examples?.length > 0 }).toEqual({ id, examples: true })
    expect(Object.keys(command.flags)).toEqual(
      expect.arrayContaining(['json', 'database-url', 'embedded', 'config', 'schema']),
    )
  }
  const { code, stdout } = await pgbq(['enqueue', '--help'])
  expect(code).toBe(0)
  expect(stdout).toMatch(/EXAMPLES[\s\S]*\$ pgbq enqueue /)
})
