import { afterEach, beforeEach, expect, test } from 'vitest'
import { Database } from '../../src/engine/database/database.js'
import { startPipeline } from '../../src/engine/database/pipeline.js'
import { useDatabase } from '../support/database.js'
import { OWNER } from '../support/names.js'

const db = useDatabase()
let session: Database

beforeEach(async () => {
  session = await Database.connect(db.target(OWNER), { applicationName: 'test', pipeline: true })
})
afterEach(() => session.close())

const run = (texts: string[], isTask = false) =>
  startPipeline(
    session.client,
    texts.map((text, n) => (n === 0 ? { text, isTask } : { text })),
  ).done
const status = () => (session.client as unknown as { getTransactionStatus(): string }).getTransactionStatus()

test('tells the tag and the rows of each step, in their order', async () => {
  const results = await session.pipeline([
    { text: 'select $1::text, $2::bigint + 1, $3::boolean, null', values: ['a', 9007199254740993n, true] },
    { text: '-- no statement' },
    { text: 'select n from generate_series(7, 9) n' },
    { text: 'begin' },
    { text: 'commit' },
  ])
  expect(results).toEqual([
    { tag: 'SELECT 1', rows: [['a', '9007199254740994', 't', null]] },
    { tag: null, rows: [] },
    { tag: 'SELECT 3', rows: [['7'], ['8'], ['9']] },
    { tag: 'BEGIN', rows: [] },
    { tag: 'COMMIT', rows: [] },
  ])
})

test('keeps no row of a step that is a task', async () => {
  expect(await run(['select 1', 'select 2'], true)).toEqual([
    { tag: 'SELECT 1', rows: [] },
    { tag: 'SELECT 1', rows: [['2']] },
  ])
})

test('skips what is behind an error, and tells of it when the state of the transaction is known', async () => {
  await session.query('create temp table done (n integer)')
  await session.query('begin')
  await expect(run(['insert into done values (1)', 'select 1 / 0', 'commit'])).rejects.toMatchObject({
    code: '22012',
  })
  expect(status()).toBe('E')
  await session.query('rollback')
  await expect(run(['insert into done values (1)', 'boom'])).rejects.toMatchObject({ code: '42601' })
  expect(status()).toBe('I')
  expect(await session.query('select from done')).toEqual([])
})

test('answers what was sent behind a failed pipeline in the same packet', async () => {
  const failed = run(['boom'])
  const next = session.query('select 1 as n')
  await expect(failed).rejects.toMatchObject({ code: '42601' })
  expect(await next).toEqual([{ n: 1 }])
})

test('tells of a session that ends in the middle, and of one that has ended', async () => {
  const { pid } = await session.one<{ pid: number }>('select pg_backend_pid() as pid')
  const ending = expect(run(['select pg_sleep(60)'])).rejects.toThrow()
  await db.admin.query('select pg_terminate_backend($1)', [pid])
  await ending
  await expect(run(['select 1'])).rejects.toThrow()
})
