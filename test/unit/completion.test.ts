import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { complete, type KnownCommand } from '../../src/completion/candidates.js'
import { splitLine } from '../../src/completion/words.js'

const manifest = JSON.parse(readFileSync(new URL('../../oclif.manifest.json', import.meta.url), 'utf8'))
const commands = Object.values<KnownCommand>(manifest.commands)

test.each([
  ['pgbq status ', ['pgbq', 'status', '']],
  ['pgbq  status --topic ma', ['pgbq', 'status', '--topic', 'ma']],
  ['pgbq enqueue "select 1" --topic \'my to', ['pgbq', 'enqueue', 'select 1', '--topic', 'my to']],
  ['pgbq status --topic month\\ en', ['pgbq', 'status', '--topic', 'month en']],
  [`pgbq enqueue '' "a\\"b" x`, ['pgbq', 'enqueue', '', 'a"b', 'x']],
  ["pgbq enqueue 'a\\", ['pgbq', 'enqueue', 'a\\']],
  ['', ['']],
])('splits %j as a shell does, the last word being typed', (line, words) => {
  expect(splitLine(line)).toEqual(words)
})

/** What can stand where the last word is. */
function offered(line: string): string[] {
  const { candidates, typed } = complete(splitLine(line).slice(1), commands)
  return candidates.map(({ value }) => value).filter((value) => value.startsWith(typed))
}

describe('offers', () => {
  test.each([
    ['pgbq enq', ['enqueue']],
    ['pgbq comp', ['completion']],
    ['pgbq config ', ['apply', 'get', 'list', 'set', 'unset']],
    ['pgbq config s', ['set']],
    ['pgbq help embedded st', ['start', 'status', 'stop']],
    ['pgbq status --stat', ['--state']],
    ['pgbq status --state fi', ['finished']],
    ['pgbq status --state=fi', ['finished']],
    ['pgbq status --state failed --sta', ['--state']],
    ['pgbq status --limit 3 --lim', []],
    ['pgbq completion ', ['bash', 'zsh', 'fish']],
    ['pgbq completion bash ', []],
    ['pgbq enqueue -- --to', []],
    ['pgbq enqueue ', []],
    ['pgbq nonsense ', []],
  ])('for %j %j', (line, values) => {
    expect(offered(line)).toEqual(values)
  })

  test('every command that is not hidden, and no other', () => {
    expect(offered('pgbq ')).toContain('status')
    expect(offered('pgbq ')).not.toContain('complete')
  })

  test.each([
    ['pgbq status --topic ', 'topics'],
    ['pgbq work --topic a --topic ', 'topics'],
    ['pgbq config set --topic=m', 'topics'],
    ['pgbq config set ret', 'parameters'],
    ['pgbq status ', 'tasks'],
    ['pgbq enqueue --file ', 'files'],
    ['pgbq enqueue -f ', 'files'],
    ['pgbq status --config ', 'files'],
    ['pgbq config set retry_count ', undefined],
    ['pgbq status --limit ', undefined],
  ])('after %j what only others know: %s', (line, wanted) => {
    expect(complete(splitLine(line).slice(1), commands).wanted).toBe(wanted)
  })
})
