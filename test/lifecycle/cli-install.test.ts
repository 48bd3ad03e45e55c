import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { schemaVersion } from '../../src/engine/sql-files.js'
import { pgbq } from '../support/cli.js'
import { useDatabase } from '../support/database.js'
import { ALICE } from '../support/names.js'

vi.setConfig({ testTimeout: 90_000 })

const VERSION = schemaVersion()

describe('a database without a queue', () => {
  const db = useDatabase({ isEmpty: true })
  const install = (...args: string[]) => pgbq(['install', ...args], { url: db.url() })

  test('is left as it is by a dry run, which says what would be done', async () => {
    const { code, stdout, stderr } = await install('--dry-run')
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout).toMatch(
      new RegExp(
        `^Nothing was changed\\. The queue would be installed in schema "public", version ${VERSION}: 0001_tasks, `,
      ),
    )
    expect(await db.owner.query(`select from pg_namespace where nspname = 'background_queue'`)).toEqual([])
  })

  test.each(['pg_x', 'a"b', '', 'x'.repeat(64)])('refuses the schema name "%s"', async (schema) => {
    const { code, stdout, stderr } = await install('--schema', schema)
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    expect(stderr).toMatch(/^Error: Expected a schema name [^\n]+\nTry this: pgbq install --help\n$/)
  })

  test('is not installed into by a role that does not own it', async () => {
    const { code, stderr } = await pgbq(['install'], { url: db.url(ALICE) })
    expect(code).toBe(1)
    expect(stderr).toMatch(
      /^Error: The role "pgbq_alice" may not install the queue: [^\n]+\nTry this: install as the owner of the database\n$/,
    )
  })

  test('that holds the C extension is refused, with the way out', async () => {
    await db.admin.query('set allow_system_table_mods = on')
    await db.admin.query(`insert into pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion)
      values (4294900000, 'pg_background_queue', 10, 'public'::regnamespace, false, '1.0')`)
    onTestFinished(async () => void (await db.admin.query('delete from pg_extension where oid = 4294900000')))
    const { code, json } = await install('--json')
    expect(code).toBe(1)
    expect(json.error).toMatchObject({
      code: 'EXTENSION_PRESENT',
      message: expect.stringMatching(/^The C extension pg_background_queue 1\.0 is in database /),
      hint: 'pgbq install --from-extension, which takes its tasks over',
    })
  })

  test('gets the queue once from two installs at the same moment, and nothing more from a third', async () => {
    const both = await Promise.all([install('--json'), install('--json')])
    expect(both.map((r) => r.code)).toEqual([0, 0])
    const reports = both.map((r) => r.json).sort((a, b) => b.applied.length - a.applied.length)
    expect(reports).toEqual([
      { schema: 'public', from: null, to: VERSION, applied: expect.arrayContaining(['0001_tasks']) },
      { schema: 'public', from: VERSION, to: VERSION, applied: [] },
    ])
    const again = await install()
    expect(again).toMatchObject({ code: 0, stderr: '' })
    expect(again.stdout).toBe(`The queue in schema "public" is at version ${VERSION}\n`)
  })
})

describe('a database with a queue', () => {
  const db = useDatabase()
  const install = (...args: string[]) => pgbq(['install', ...args], { url: db.url() })

  test('refuses a second one in another schema and names the first', async () => {
    const { code, stderr } = await install('--schema', 'jobs')
    expect(code).toBe(1)
    expect(stderr).toBe(
      'Error: The queue is already installed in schema "public" of this database\nTry this: pgbq install --schema public\n',
    )
  })

  test('grants and revokes the right to enqueue', async () => {
    const enqueue = () => pgbq(['enqueue', 'select 1'], { url: db.url(ALICE) })
    expect((await enqueue()).code).toBe(1)
    expect((await install('--grant-enqueue', ALICE)).code).toBe(0)
    expect((await enqueue()).code).toBe(0)
    expect((await install()).code).toBe(0)
    expect((await enqueue()).code).toBe(0)
    expect((await install('--revoke-enqueue', ALICE)).code).toBe(0)
    expect((await enqueue()).code).toBe(1)
  })

  test('changes no right where one of the roles does not exist', async () => {
    const { code, stderr } = await install('--grant-enqueue', ALICE, '--grant-enqueue', `no"body`)
    expect(code).toBe(1)
    expect(stderr).toBe(
      `Error: No role is named "no"body"\nTry this: psql -c 'CREATE ROLE "no""body" LOGIN'\n`,
    )
    expect((await pgbq(['enqueue', 'select 1'], { url: db.url(ALICE) })).code).toBe(1)
  })
})

describe('a schema of its own', () => {
  const db = useDatabase({ isEmpty: true })

  test('holds the queue, and every command finds it there', async () => {
    await db.owner.query('create schema "Jobs 1"')
    const { json } = await pgbq(['install', '--schema', 'Jobs 1', '--json'], { url: db.url() })
    expect(json).toMatchObject({ schema: 'Jobs 1', from: null, to: VERSION })
    const { json: task } = await pgbq(['enqueue', 'select 1', '--json'], { url: db.url() })
    expect((await pgbq(['work', '--drain', '--warm', '1'], { url: db.url() })).code).toBe(0)
    const row = await pgbq(['status', String(task.id), '--json', '--schema', 'Jobs 1'], { url: db.url() })
    expect(row.json.state).toBe('finished')
    expect((await pgbq(['status'], { url: db.url() })).code).toBe(0)
  })
})
