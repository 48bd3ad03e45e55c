import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { text } from 'node:stream/consumers'
import { setTimeout as pause } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import pg from 'pg'
import ts from 'typescript'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { findProcess } from '../../src/embedded/process-table.js'
import { destroyEmbedded, embeddedStatus, startEmbedded, stopEmbedded } from '../../src/embedded/server.js'

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 })

const isRoot = process.getuid?.() === 0
const NOBODY = 65534
const REPOSITORY = resolve(import.meta.dirname, '../..')
let compiled: string
let base: string
let home: string
/** Has data from before and is stopped: for tests that need no fresh one. */
let usedHome: string

beforeAll(async () => {
  compiled = compile()
  usedHome = openFolder()
  await startEmbedded({ home: usedHome })
  await stopEmbedded({ home: usedHome })
})
afterAll(async () => {
  await destroyEmbedded({ home: usedHome })
  for (const folder of [compiled, usedHome]) rmSync(folder, { recursive: true })
})
beforeEach(() => {
  base = openFolder()
  home = join(base, 'home')
})
afterEach(async () => {
  await (home === usedHome ? stopEmbedded({ home }) : destroyEmbedded({ home }))
  rmSync(base, { recursive: true })
})

/** Root's server runs as another user, who has to get in. */
function openFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'pgbq-home-'))
  chmodSync(folder, 0o755)
  return folder
}

/** The module as JavaScript, for processes that are to be killed; inside the repository, to find packages. */
function compile(): string {
  const cache = join(REPOSITORY, 'node_modules/.cache')
  mkdirSync(cache, { recursive: true })
  const target = mkdtempSync(join(cache, 'pgbq-embedded-'))
  chmodSync(target, 0o755)
  const sources = readdirSync(join(REPOSITORY, 'src/embedded')).map((name) => `embedded/${name}`)
  for (const name of [...sources, 'engine/errors.ts']) {
    const source = readFileSync(join(REPOSITORY, 'src', name), 'utf8')
    const options = { compilerOptions: { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022 } }
    const file = join(target, name.replace(/\.ts$/, '.js'))
    mkdirSync(dirname(file), { recursive: true })
    writeFileSync(file, ts.transpileModule(source, options).outputText)
  }
  return target
}

/** A process of its own that starts the server and prints it as JSON. `extra` runs on every message. */
function starter(extra = '', options: SpawnOptions = {}): ChildProcess {
  const module = pathToFileURL(join(compiled, 'embedded/server.js'))
  const code = `
    import fs from 'node:fs'
    import { startEmbedded } from '${module}'
    const home = ${JSON.stringify(home)}
    const die = () => process.kill(process.pid, 'SIGKILL')
    const onProgress = (message) => { ${extra} }
    console.log(JSON.stringify(await startEmbedded({ home, onProgress })))`
  const args = ['--input-type=module', '--eval', code]
  return spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'], ...options })
}

async function resultOf(child: ChildProcess) {
  return JSON.parse(await text(child.stdout!))
}

function ended(child: ChildProcess): Promise<NodeJS.Signals | null> {
  return new Promise((resolve) => child.once('exit', (_, signal) => resolve(signal)))
}

async function until(isTrue: () => boolean): Promise<void> {
  while (!isTrue()) await pause(5)
}

async function query(url: string, sql: string): Promise<unknown[]> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  const result = await client.query(sql).finally(() => client.end())
  return result.rows
}

async function killServer(pid: number): Promise<void> {
  process.kill(pid, 'SIGKILL')
  await until(() => findProcess(pid) === undefined)
}

/** What a stopped server must not leave. */
function traces(socketDir: string): string[] {
  return [join(home, 'embedded/18/data/postmaster.pid'), socketDir].filter((path) => existsSync(path))
}

describe('starting', () => {
  test('makes a server that answers at its url, and a second call attaches to it', async () => {
    const messages: string[] = []
    const first = await startEmbedded({ home, onProgress: (message) => messages.push(message) })
    expect(first).toMatchObject({ started: true, version: '18.4', dataDir: join(home, 'embedded/18/data') })
    expect(messages.map((message) => message.split(' ')[0])).toEqual(['Unpacking', 'Creating', 'Starting'])
    const sql = `select current_user::text, current_database()::text, current_setting('fsync') as fsync,
      current_setting('server_encoding') as encoding, current_setting('listen_addresses') as tcp, upper('é')`
    const row = { current_user: 'pgbq', current_database: 'pgbq', fsync: 'on', encoding: 'UTF8', tcp: '' }
    expect(await query(first.url, sql)).toEqual([{ ...row, upper: 'É' }])
    expect(statSync(first.socketDir).mode & 0o077).toBe(0)

    expect(await startEmbedded({ home })).toEqual({ ...first, started: false })
    const { url, dataDir, pid, version } = first
    expect(await embeddedStatus({ home })).toEqual({
      running: true,
      exists: true,
      url,
      dataDir,
      pid,
      version,
    })
  })

  test('ten processes at once start one server', async () => {
    const results = await Promise.all(Array.from({ length: 10 }, () => resultOf(starter())))
    expect(results.filter((result) => result.started)).toHaveLength(1)
    expect(new Set(results.map((result) => result.pid)).size).toBe(1)
  })

  test('passes settings on, and quotes the log of a server that refuses them', async () => {
    home = usedHome
    const bad = startEmbedded({ home, settings: { shared_buffers: 'plenty' } })
    await expect(bad).rejects.toMatchObject({
      code: 'EMBEDDED_START_FAILED',
      message: expect.stringContaining('invalid value for parameter "shared_buffers": "plenty"'),
    })
    const { url } = await startEmbedded({ home, settings: { application_name: "it's a name" } })
    expect(await query(url, 'show application_name')).toEqual([{ application_name: "it's a name" }])
  })

  test('a home too deep for a socket address gets a short socket folder, which a stop removes', async () => {
    home = join(base, 'deep'.repeat(30))
    const server = await startEmbedded({ home })
    expect(server.socketDir).toMatch(/^\/tmp\/pgbq-/)
    expect(await query(server.url, 'select 1 as one')).toEqual([{ one: 1 }])
    await stopEmbedded({ home })
    expect(traces(server.socketDir)).toEqual([])
  })

  test('a platform without programs is refused', async () => {
    const arch = process.arch
    Object.defineProperty(process, 'arch', { value: 's390x' })
    try {
      await expect(startEmbedded({ home })).rejects.toMatchObject({ code: 'EMBEDDED_UNAVAILABLE' })
    } finally {
      Object.defineProperty(process, 'arch', { value: arch })
    }
    expect(existsSync(home)).toBe(false)
  })

  test('root is told which folder the user of the server cannot enter', async ({ skip }) => {
    skip(!isRoot, 'only root starts a server for another user')
    chmodSync(base, 0o700)
    await expect(startEmbedded({ home })).rejects.toMatchObject({
      code: 'EMBEDDED_HOME_UNREADABLE',
      message: expect.stringContaining(`cannot enter "${base}"`),
      hint: expect.stringContaining('PGBQ_EMBEDDED_HOME='),
    })
    expect(existsSync(home)).toBe(false)
  })

  test('an ordinary user runs the server as that user', async ({ skip }) => {
    skip(!isRoot, 'only root can start a process of an ordinary user')
    chownSync(base, NOBODY, NOBODY)
    const server = await resultOf(starter('', { uid: NOBODY, gid: NOBODY }))
    expect(server.started).toBe(true)
    expect(statSync(server.dataDir).uid).toBe(NOBODY)
    expect(await startEmbedded({ home })).toEqual({ ...server, started: false }) // root may use it too
  })
})

describe('a starter that is killed', () => {
  test.each([
    ['unpacks', `if (message.startsWith('Unpacking')) die()`],
    [
      'creates the data folder',
      `setInterval(() => {
        const root = home + '/embedded/18/'
        if (fs.readdirSync(root).some((name) => fs.existsSync(root + name + '/global/pg_control'))) die()
      }, 1)`,
    ],
    ['is about to start the server', `if (message.startsWith('Starting')) die()`],
    [
      'waits for the server',
      `if (message.startsWith('Starting'))
        setInterval(() => fs.existsSync(home + '/embedded/18/data/postmaster.pid') && die(), 1)`,
    ],
  ])('while it %s is no obstacle to the next', async (_, extra) => {
    expect(await ended(starter(extra))).toBe('SIGKILL')
    const server = await startEmbedded({ home })
    expect(await query(server.url, 'select 1 as one')).toEqual([{ one: 1 }])
    await stopEmbedded({ home })
    await startEmbedded({ home })
    const left = readdirSync(join(home, 'embedded/18')).sort()
    expect(left).toEqual(['data', 'lock', expect.stringMatching(/^programs-/), 'server.log', 'socket'])
  })

  test('does not take its server along, nor do SIGHUP and SIGINT to its terminal', async () => {
    home = usedHome
    const child = starter('setInterval(() => {}, 1000)', { detached: true })
    await new Promise((resolve) => child.stdout?.once('data', resolve))
    const { pid } = await startEmbedded({ home })
    process.kill(-child.pid!, 'SIGHUP')
    expect(await ended(child)).toBe('SIGHUP')
    expect(await embeddedStatus({ home })).toMatchObject({ running: true, pid })

    const group = spawn('sh', ['-c', 'kill -INT 0; kill -HUP 0'], { detached: true })
    await ended(group)
    expect(await embeddedStatus({ home })).toMatchObject({ running: true, pid })
  })
})

describe('a server that was killed', () => {
  beforeEach(() => {
    home = usedHome
  })

  test('is started again with its data', async () => {
    const first = await startEmbedded({ home })
    await query(first.url, 'create table before_crash as select 42 as kept')
    await killServer(first.pid)
    expect(await embeddedStatus({ home })).toMatchObject({ running: false, url: null, pid: null })
    const second = await startEmbedded({ home })
    expect(second.started).toBe(true)
    expect(await query(second.url, 'select kept from before_crash')).toEqual([{ kept: 42 }])
  })

  test('is started again while nobody has reaped its process', async () => {
    const child = starter('setInterval(() => {}, 1000)')
    await new Promise((resolve) => child.stdout?.once('data', resolve))
    const { pid } = await startEmbedded({ home })
    process.kill(child.pid!, 'SIGSTOP')
    await killServer(pid)
    expect(() => process.kill(pid, 0)).not.toThrow() // a zombie still has its pid
    expect((await startEmbedded({ home })).started).toBe(true)
    child.kill('SIGKILL')
  })

  test('is started again once the sessions it left have ended', async () => {
    const first = await startEmbedded({ home })
    const client = new pg.Client({ connectionString: first.url })
    client.on('error', () => {})
    await client.connect()
    const backend = await client.query('select pg_backend_pid() as pid')
    const busy = client
      .query('do $$ begin for i in 1..2000000000 loop null; end loop; end $$')
      .catch(() => {})
    await killServer(first.pid)

    const log = join(home, 'embedded/18/server.log')
    const second = startEmbedded({ home })
    await until(() => readFileSync(log, 'utf8').includes('pre-existing shared memory block'))
    process.kill(backend.rows[0].pid, 'SIGKILL')
    expect((await second).started).toBe(true)
    await busy
    await client.end()
  })

  test('is started again when a stranger has its pid', async () => {
    const { pid, dataDir } = await startEmbedded({ home })
    const file = join(dataDir, 'postmaster.pid')
    const claim = readFileSync(file, 'utf8').replace(String(pid), String(process.pid))
    await killServer(pid)
    writeFileSync(file, claim)
    expect((await startEmbedded({ home })).started).toBe(true)
  })

  test('is not taken for one that runs while something that it forked still holds its socket', async () => {
    const { pid, socketDir } = await startEmbedded({ home })
    await killServer(pid)
    const path = join(socketDir, '.s.PGSQL.5432')
    rmSync(path)
    const holder = createServer((client) => setTimeout(() => client.destroy(), 200))
    await new Promise<void>((resolve) => holder.listen(path, resolve))
    expect(await embeddedStatus({ home })).toMatchObject({ running: false })
    expect(await stopEmbedded({ home })).toEqual({ stopped: false })
    holder.close()
  })

  test('leaves nothing after a stop', async () => {
    const { pid, socketDir } = await startEmbedded({ home })
    await killServer(pid)
    expect(traces(socketDir)).toHaveLength(2)
    expect(await stopEmbedded({ home })).toEqual({ stopped: false })
    expect(traces(socketDir)).toEqual([])
  })
})

describe('stopping', () => {
  test('ends open sessions, leaves no process, socket or pid file, and keeps the data', async () => {
    home = usedHome
    const first = await startEmbedded({ home })
    const client = new pg.Client({ connectionString: first.url })
    const broken = new Promise<Error>((resolve) => client.on('error', resolve))
    await client.connect()
    await client.query('create table before_stop as select 42 as kept')
    await client.query('begin')
    expect(await stopEmbedded({ home })).toEqual({ stopped: true })
    expect(findProcess(first.pid)).toBeUndefined()
    expect(traces(first.socketDir)).toEqual([])
    expect(await broken).toMatchObject({ code: '57P01' })
    expect(await stopEmbedded({ home })).toEqual({ stopped: false })

    const second = await startEmbedded({ home })
    expect(await query(second.url, 'select kept from before_stop')).toEqual([{ kept: 42 }])
  })

  test('where nothing ever ran makes no folder', async () => {
    expect(await stopEmbedded({ home })).toEqual({ stopped: false })
    expect(existsSync(home)).toBe(false)
  })
})

test('a log of more than 10 MB is emptied at the next start', async () => {
  home = usedHome
  await startEmbedded({ home })
  await stopEmbedded({ home })
  const log = join(home, 'embedded/18/server.log')
  truncateSync(log, 11 * 1024 * 1024)
  await startEmbedded({ home })
  expect(statSync(log).size).toBeLessThan(10_000)
})

test('destroying ends the server and deletes everything', async () => {
  const { pid } = await startEmbedded({ home })
  await destroyEmbedded({ home })
  expect(findProcess(pid)).toBeUndefined()
  expect(readdirSync(join(home, 'embedded'))).toEqual([])
})
