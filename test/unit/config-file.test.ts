import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { readConfigFile } from '../../src/engine/config-file.js'

let home: string
let repository: string
let folder: string

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'pgbq-config-'))
  repository = join(home, 'work', 'repository')
  folder = join(repository, 'deep', 'folder')
  mkdirSync(folder, { recursive: true })
  mkdirSync(join(repository, '.git'))
  vi.stubEnv('HOME', home)
})
afterEach(() => void vi.unstubAllEnvs())

const write = (path: string, text: string): string => {
  const file = join(home, path)
  mkdirSync(join(file, '..'), { recursive: true })
  writeFileSync(file, text)
  return file
}

describe('the file that is found', () => {
  test('is none where there is none', async () => {
    expect(await readConfigFile(undefined, folder)).toBeUndefined()
  })

  test('is the nearest upward, at most up to the root of the repository', async () => {
    write('work/.pgbqrc', 'warm: 9')
    expect(await readConfigFile(undefined, folder)).toBeUndefined()
    const root = write('work/repository/.pgbqrc', 'warm: 1')
    expect(await readConfigFile(undefined, folder)).toEqual({ path: root, config: { warm: 1 } })
    const near = write('work/repository/deep/.pgbqrc.yaml', 'warm: 2')
    expect(await readConfigFile(undefined, folder)).toEqual({ path: near, config: { warm: 2 } })
  })

  test('may be the key "pgbq" of package.json, but not another key of that name', async () => {
    write('work/repository/package.json', '{"name": "x", "bin": {"pgbq": "run.js"}}')
    expect(await readConfigFile(undefined, folder)).toBeUndefined()
    write('work/repository/package.json', '{"name": "x", "pgbq": {"concurrency": 3}}')
    expect((await readConfigFile(undefined, folder))?.config).toEqual({ concurrency: 3 })
  })

  test('is that of ~/.config/pgbq where no folder has one', async () => {
    const path = write('.config/pgbq/.pgbqrc.json', '{"run_as": "login"}')
    expect(await readConfigFile(undefined, folder)).toEqual({ path, config: { run_as: 'login' } })
  })

  test('is the one that is named, whatever lies nearer', async () => {
    write('work/repository/deep/folder/.pgbqrc', 'warm: 1')
    const path = write('elsewhere.yaml', 'warm: 2')
    expect((await readConfigFile(path, folder))?.config).toEqual({ warm: 2 })
  })

  test('may be empty', async () => {
    const path = write('.pgbqrc', '')
    expect(await readConfigFile(path)).toEqual({ path, config: {} })
  })
})

describe('a file that cannot be obeyed', () => {
  test.each([
    ['.pgbqrc', '{bad', /"[^"]*\.pgbqrc" cannot be read: [^\n]+$/],
    ['.pgbqrc.json', '{"a": ', /"[^"]*\.pgbqrc\.json" cannot be read: [^\n]+$/],
    ['.pgbqrc.yaml', 'a: b: c', /"[^"]*\.pgbqrc\.yaml" cannot be read: [^\n]+$/],
    ['package.json', '{"pgbq": ', /"[^"]*package\.json" cannot be read: [^\n]+$/],
    ['.pgbqrc', '[1]', /to hold an object$/],
    ['.pgbqrc', '"text"', /to hold an object$/],
    ['.pgbqrc', 'databaseurl: x', /^The key "databaseurl" in ".*" is not known$/],
    ['.pgbqrc', 'database_url: 5', /^Expected "database_url" in ".*" to be a text, got 5$/],
    ['.pgbqrc', 'concurrency: 0', /to be an integer from 1 to 64, got 0$/],
    ['.pgbqrc', 'concurrency: 65', /to be an integer from 1 to 64, got 65$/],
    ['.pgbqrc', 'warm: "2"', /to be an integer from 0 to 64, got "2"$/],
    [
      '.pgbqrc',
      'idle_timeout: soon',
      /^Expected "idle_timeout" in .* to be a duration such as 10m, got "soon"$/,
    ],
    ['.pgbqrc', 'shutdown_timeout: -5', /^Expected "shutdown_timeout" in .* to be a duration/],
    ['.pgbqrc', 'run_as: root', /to be "login" or "set-role", got "root"$/],
    ['.pgbqrc', 'log_format: xml', /to be "text" or "json", got "xml"$/],
    ['.pgbqrc', 'metrics_port: 65536', /to be a port from 0 to 65535, got 65536$/],
    ['.pgbqrc', 'metrics_port: "9187"', /to be a port from 0 to 65535, got "9187"$/],
    ['.pgbqrc', 'metrics_file: ""', /to be a text, got ""$/],
    ['.pgbqrc', 'parameters: {retry_count: [1]}', /to be an object of parameters, got/],
    ['.pgbqrc', 'topics: {mail: 3}', /to be an object of topics/],
    ['.pgbqrc', `topics: {${'x'.repeat(201)}: {paused: true}}`, /of at most 200 characters/],
  ])('is named with its key: %s %s', async (name, text, message) => {
    const path = write(`work/repository/${name}`, text)
    await expect(readConfigFile(undefined, folder)).rejects.toMatchObject({
      name: 'QueueError',
      code: 'CONFIG_INVALID',
      usage: true,
      message: expect.stringMatching(message),
    })
    await expect(readConfigFile(undefined, folder)).rejects.toThrow(path)
  })

  test('that is named and not there is an error', async () => {
    await expect(readConfigFile('/nowhere/x.yaml')).rejects.toMatchObject({
      code: 'CONFIG_MISSING',
      usage: true,
      message: 'The configuration file "/nowhere/x.yaml" does not exist',
    })
  })
})
