import { execFileSync } from 'node:child_process'
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { pgbq, RUN } from '../support/cli.js'
import { useDatabase } from '../support/database.js'
import { noTerminals, openShell } from '../support/terminal.js'

vi.setConfig({ testTimeout: 60_000 })

const db = useDatabase()
const bin = mkdtempSync(join(tmpdir(), 'pgbq-bin-'))

beforeAll(async () => {
  writeFileSync(join(bin, 'pgbq'), `#!/bin/sh\nexec '${process.execPath}' '${RUN}' "$@"\n`)
  chmodSync(join(bin, 'pgbq'), 0o755)
  for (const topic of ['month end', 'mail', 'größe 漢字', 'a:b', 'two\nlines'])
    await db.owner.query('select pg_background_enqueue($1, $2)', ['select 1', topic])
})
afterAll(() => rmSync(bin, { recursive: true }))

const isThere = (shell: string): boolean => {
  try {
    execFileSync(shell, ['-c', 'exit 0'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

describe('complete', () => {
  const complete = async (line: string, options = {}) => {
    const { code, stderr, stdout } = await pgbq(['complete', 'line'], {
      url: db.url(),
      input: line,
      ...options,
    })
    const values = stdout
      .trimEnd()
      .split('\n')
      .slice(1)
      .map((candidate) => candidate.split('\t')[0])
    return { code, stderr, values }
  }

  test('names topics, parameters and tasks that the queue knows', async () => {
    expect((await complete('pgbq status --topic m')).values).toEqual(['mail', 'month end'])
    expect((await complete('pgbq status --topic ')).values).toHaveLength(4)
    expect((await complete('pgbq config get retry')).values).toEqual([
      'retry_count',
      'retry_max_delay_in_sec',
    ])
    expect((await complete('pgbq cancel ')).values).toEqual(['5', '4', '3', '2', '1'])
    expect((await complete('pgbq retry ')).values).toEqual([])
  })

  test('goes to the server that the line names', async () => {
    const { values } = await complete(`pgbq status --database-url ${db.url()} --topic ma`, {
      url: 'postgresql://127.0.0.1:1/x',
    })
    expect(values).toEqual(['mail'])
  })

  test.each([
    ['no server', { url: 'postgresql://127.0.0.1:1/x' }],
    ['a URL that is none', { url: 'nonsense' }],
    [
      'an embedded server that does not run',
      { url: 'embedded', env: { PGBQ_EMBEDDED_HOME: '/nonexistent' } },
    ],
  ])('is silent for %s', async (_, options) => {
    const { code, stderr, values } = await complete('pgbq status --topic ', options)
    expect({ code, stderr, values }).toEqual({ code: 0, stderr: '', values: [] })
  })

  test('is silent about a wrong call of itself', async () => {
    expect(await pgbq(['complete'])).toMatchObject({ stdout: '', stderr: '' })
  })
})

describe.each([
  ['bash', 'bash --norc', 'PS1="$ "; eval "$(pgbq completion bash)"'],
  ['zsh', 'zsh -f', 'PS1="$ "; autoload -U compinit; compinit -u -D; eval "$(pgbq completion zsh)"'],
  ['fish', 'fish --no-config', `pgbq completion fish | source; function fish_prompt; echo '$ '; end`],
])('%s', (shell, line, setUp) => {
  beforeEach((ctx) => {
    const reason = noTerminals() ?? (isThere(shell) ? undefined : `there is no ${shell}`)
    if (reason) ctx.skip(reason)
  })

  test('completes commands, flags and topics, also those with blanks, colons and other scripts', async () => {
    const terminal = openShell(line, { url: db.url(), env: { PATH: `${bin}:${process.env.PATH}` } })
    await terminal.shows(/[$#%>] *$/m)
    terminal.type(`${setUp}; clear; echo ready`)
    terminal.press('Enter')
    await terminal.shows(/^ready$/m)
    for (const [typed, shown] of [
      ['pgbq stat', 'pgbq status'],
      ['pgbq status --no', 'pgbq status --no-topic'],
      ['pgbq status --topic mon', 'pgbq status --topic month\\ end'],
      ['pgbq status --topic=mai', 'pgbq status --topic=mail'],
      ['pgbq status --topic a:', 'pgbq status --topic a:b'],
      ['pgbq status --topic grö', 'pgbq status --topic größe\\ 漢字'],
    ] as const) {
      terminal.type(typed)
      terminal.press('Tab')
      await terminal.shows(new RegExp(`^\\$ ${shown.replaceAll('\\', '\\\\')} *$`, 'm'))
      terminal.press('C-c')
      await terminal.shows(/^\$ *\n*$(?![\s\S]*\S)/m)
    }
  })
})

test('completion refuses a shell that it does not know', async () => {
  const { code, stderr } = await pgbq(['completion', 'tcsh'])
  expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringContaining('bash, zsh, fish') })
})
