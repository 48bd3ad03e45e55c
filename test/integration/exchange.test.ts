import { afterEach, beforeEach, expect, test } from 'vitest'
import { Database } from '../../src/engine/database/database.js'
import { functionCall, readRow, SYNC, script, statement } from '../../src/engine/database/messages.js'
import { useDatabase } from '../support/database.js'
import { OWNER } from '../support/names.js'

const db = useDatabase()
let session: Database

beforeEach(async () => {
  session = await Database.connect(db.target(OWNER), { applicationName: 'test', pipeline: true })
  session.watchInbox()
})
afterEach(() => session.close())

const status = () => (session.client as unknown as { getTransactionStatus(): string }).getTransactionStatus()
const ask = (text: string, behind: string) =>
  session.exchange({ messages: [statement(text), script(behind), SYNC], answers: 2, answersIfFirstFails: 1 })
const oidOf = async (signature: string) =>
  (await session.one<{ oid: number }>('select $1::regprocedure::oid as oid', [signature])).oid

test('tells the tags of all that ended, keeps no rows, and leaves the session to others', async () => {
  expect(
    await ask('select n from generate_series(1, 3) n', 'begin; select 1; set local work_mem = 99'),
  ).toEqual([{ tags: ['SELECT 3', 'BEGIN', 'SELECT 1', 'SET'] }, { tags: [] }])
  expect(status()).toBe('T')
  expect(await session.query('select 1 as n')).toEqual([{ n: 1 }])
  expect(await ask('-- nothing', 'rollback')).toEqual([{ tags: [null, 'ROLLBACK'] }, { tags: [] }])
  expect(status()).toBe('I')
})

test('skips what is behind a statement that fails, up to the Sync', async () => {
  await session.query('begin')
  const [answer, ...others] = await ask('select 1 / 0', 'commit')
  expect(answer).toMatchObject({ tags: [], error: { code: '22012', severity: 'ERROR', routine: 'int4div' } })
  expect(others).toEqual([])
  expect(status()).toBe('E')
  await session.query('rollback')
  expect(await session.query('select 1 as n')).toEqual([{ n: 1 }])
})

test('tells of an error behind the first statement', async () => {
  const [answer, sync] = await ask('select 1', 'begin; select "no column", \'ä\'; commit')
  expect(answer).toMatchObject({
    tags: ['SELECT 1', 'BEGIN'],
    error: { code: '42703', message: 'column "no column" does not exist', position: '15' },
  })
  expect(sync).toEqual({ tags: [] })
  expect(status()).toBe('E')
})

test('refuses a second statement in the first text', async () => {
  const [answer] = await ask('select 1; select 2', 'select 3')
  expect(answer).toMatchObject({ error: { code: '42601', routine: 'exec_parse_message' } })
})

test('calls functions by their OID', async () => {
  const oid = await oidOf('pg_catalog.quote_literal(text)')
  const row = await oidOf('pg_catalog.pg_walfile_name_offset(pg_lsn)')
  const call = (id: number, ...values: unknown[]) =>
    session.exchange({ messages: [functionCall(id, values)], answers: 1 })
  expect(await call(oid, `ä's`)).toEqual([{ tags: [], value: `'ä''s'` }])
  expect(await call(oid, null)).toEqual([{ tags: [], value: null }])
  expect(readRow((await call(row, '0/1000008'))[0]!.value!)).toEqual([
    expect.stringMatching(/^[0-9A-F]{24}$/),
    '8',
  ])
  const divide = await oidOf('pg_catalog.int4div(integer, integer)')
  expect(await call(divide, 1, 0)).toMatchObject([{ tags: [], error: { code: '22012' } }])
  const [gone] = await call(4_294_967_000)
  expect(session.translated(gone!.error)).toMatchObject({ code: 'NOT_INSTALLED' })
})

test('looks at a row where it is asked for', async () => {
  const text = 'select ($1::integer, $2::text)::text'
  const messages = [script('select 1'), Buffer.concat([statement(text, [7, null]), SYNC])]
  expect(await session.exchange({ messages, answers: 2, rowIn: 1 })).toEqual([
    { tags: ['SELECT 1'] },
    { tags: ['SELECT 1'], value: '(7,)' },
  ])
})

test('goes on behind an error of the simple protocol', async () => {
  const answers = await session.exchange({ messages: [script('boom'), script('select 1')], answers: 2 })
  expect(answers).toMatchObject([{ tags: [], error: { code: '42601' } }, { tags: ['SELECT 1'] }])
})

test('hears what is said beside the answers', async () => {
  const notices: string[] = []
  const payloads: string[] = []
  session.onNotice(({ message }) => notices.push(message))
  session.onNotification((payload) => payloads.push(payload))
  const text = `do $$ begin raise notice '%', repeat('x', 200000); raise notice 'y'; end $$`
  await ask(text, "listen c; notify c, 'z'; set application_name = 'other'")
  expect(notices.map((notice) => notice.length)).toEqual([200_000, 1])
  expect(payloads).toEqual(['z'])
})

test('reads answers that come in pieces', async () => {
  const oid = await oidOf('pg_catalog.repeat(text, integer)')
  const messages = [script("select repeat('y', 1000000)"), functionCall(oid, ['xy', 5_000_000])]
  const [rows, repeated] = await session.exchange({ messages, answers: 2 })
  expect(rows).toEqual({ tags: ['SELECT 1'] })
  expect(repeated!.value).toHaveLength(10_000_000)
})

test('tells the last word of a session that ends in the middle, and of one that has ended', async () => {
  const { pid } = await session.one<{ pid: number }>('select pg_backend_pid() as pid')
  const ending = expect(ask('select pg_sleep(60)', 'select 1')).rejects.toMatchObject({ code: '57P01' })
  await db.admin.query('select pg_terminate_backend($1)', [pid])
  await ending
  expect(session.lastWord).toBe('57P01')
  await expect(ask('select 1', 'select 1')).rejects.toThrow('terminated')
})
