import { execFile } from 'node:child_process'
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { schemaVersion } from '../../src/engine/sql-files.js'
import { environment, pgbq } from '../support/cli.js'
import { useDatabase } from '../support/database.js'

vi.setConfig({ testTimeout: 90_000 })

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
const run = promisify(execFile)
const database = useDatabase()
const project = mkdtempSync(join(tmpdir(), 'pgbq-consumer-'))
let packed: string[]

/** What npm would publish, in an application's node_modules beside the packages that the application has itself. */
beforeAll(async () => {
  const { stdout } = await run('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], {
    cwd: ROOT,
    maxBuffer: 1e7,
  })
  packed = JSON.parse(stdout)[0].files.map((file: { path: string }) => file.path)
  const target = join(project, 'node_modules', 'pg-background-queue')
  for (const path of packed) {
    mkdirSync(dirname(join(target, path)), { recursive: true })
    cpSync(join(ROOT, path), join(target, path))
  }
  mkdirSync(join(project, 'node_modules', '@types'))
  for (const name of ['pg', '@types/pg', '@types/node', 'undici-types', 'pg-protocol', 'pg-types'])
    symlinkSync(join(ROOT, 'node_modules', name), join(project, 'node_modules', name))
})

afterAll(() => rmSync(project, { recursive: true, force: true }))

const filesIn = (folder: string, ending: string): string[] =>
  readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith(ending))
    .map((path) => `${folder}/${path}`)

test('the package holds each source once, the SQL, and the types of the library', () => {
  const sources = filesIn('src', '.ts').filter((path) => !path.endsWith('.d.ts'))
  const compiled = sources.map((path) => path.replace(/^src(.*)\.ts$/, 'dist$1.js'))
  const types = [
    'dist/library.d.ts',
    'dist/engine/errors.d.ts',
    'dist/engine/database/caller-connection.d.ts',
  ]
  const rest = ['LICENSE', 'README.md', 'bin/run.js', 'oclif.manifest.json', 'package.json']
  expect([...packed].sort()).toEqual([...compiled, ...types, ...filesIn('sql', '.sql'), ...rest].sort())
})

const APPLICATION = `
import pg from 'pg'
import { cancel, enqueue, enqueueMany, findTask, QueueError, retry, type EnqueueOptions, type Task } from 'pg-background-queue'

const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL })
const member: pg.PoolClient = await pool.connect()
const client: pg.Client = new pg.Client({ connectionString: process.env.DATABASE_URL })
await client.connect()

const options: EnqueueOptions = { topic: 'mail', priority: 1, runAt: new Date(), maxRetries: 2, mode: 'auto' }
await client.query('begin')
const lost: bigint = (await enqueue(client, 'select 1', options)).id
await client.query('rollback')

const { id, existing }: { id: bigint; existing: boolean } = await enqueue(member, 'select 1')
await enqueueMany(pool, [{ sql: 'select 2', uniqueKey: 'a', isolation: 'serializable', timeoutInSec: 5 }])
const task: Task = await findTask(client, id)
const done: boolean = (await cancel(client, id)).done && (await retry(client, String(id))).done
const code = await findTask(client, lost).then(() => '', (e: unknown) => (e instanceof QueueError ? e.code : 'other'))

// what the types refuse
export function refused() {
  // @ts-expect-error an option that is none
  void enqueue(client, 'select 1', { retries: 3 })
  // @ts-expect-error a mode that is none
  void enqueue(client, 'select 1', { mode: 'fast' })
  // @ts-expect-error no SQL
  void enqueueMany(client, [{ topic: 'mail' }])
  // @ts-expect-error no connection
  void enqueue({}, 'select 1')
}

console.log(JSON.stringify({ existing, sql: task.sql_statement, done, code }))
member.release()
await Promise.all([client.end(), pool.end()])
`

test('an application in TypeScript finds the library by its name, with its types, and runs', async () => {
  writeFileSync(join(project, 'package.json'), '{ "type": "module" }')
  writeFileSync(join(project, 'main.ts'), APPLICATION)
  const settings = {
    module: 'nodenext',
    target: 'es2022',
    lib: ['es2022'],
    strict: true,
    exactOptionalPropertyTypes: true,
  }
  const compilerOptions = {
    ...settings,
    types: ['node'],
    skipLibCheck: false,
    noUncheckedIndexedAccess: true,
  }
  writeFileSync(join(project, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['main.ts'] }))
  const tsc = join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc')
  const compiled = await run(process.execPath, [tsc], { cwd: project }).catch((error) => error)
  expect(compiled.stdout).toBe('')
  const { stdout } = await run(process.execPath, ['main.js'], {
    cwd: project,
    env: environment({ url: database.url() }),
  })
  expect(JSON.parse(stdout)).toEqual({ existing: false, sql: 'select 1', done: true, code: 'UNKNOWN_TASK' })
})

test('nothing else of the package can be imported', async () => {
  const from = join(project, 'other.mjs')
  writeFileSync(from, "await import('pg-background-queue/dist/engine/task-store.js')")
  await expect(run(process.execPath, [from])).rejects.toThrow('ERR_PACKAGE_PATH_NOT_EXPORTED')
})

test('--version names program, Node, schema and embedded server, and asks no server', async () => {
  const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))
  const { code, stdout, stderr } = await pgbq(['--version'], { url: 'postgresql://nobody@127.0.0.1:1/none' })
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  const [program, schema, embedded] = stdout.split('\n')
  expect(program).toBe(
    `pg-background-queue/${version} ${process.platform}-${process.arch} node-${process.version}`,
  )
  expect(schema).toBe(`schema ${schemaVersion()}`)
  expect(embedded).toMatch(/^embedded PostgreSQL (\d+\.\d+|is not installed)$/)
})
