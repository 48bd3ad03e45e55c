import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { Database } from '../../src/engine/database/database.js'
import { readRow } from '../../src/engine/database/messages.js'
import { type Call, Calls } from '../../src/engine/worker/calls.js'
import { readClaimed } from '../../src/engine/worker/claim.js'
import { readDefaults } from '../../src/engine/worker/session-identity.js'
import { useDatabase } from '../support/database.js'
import { OWNER } from '../support/names.js'

const db = useDatabase()
const empty = useDatabase({ isEmpty: true })

describe.each([
  ['by their OIDs', false],
  ['as statements, behind a pooler', true],
])('functions that are called %s', (_, isPooled) => {
  let session: Database
  let calls: Calls
  let worker: bigint

  beforeEach(async () => {
    session = await Database.connect(db.target(OWNER), { applicationName: 'test', pipeline: true })
    calls = new Calls(await readDefaults(session), isPooled)
    const row = await session.one<{ worker: bigint }>(
      `select background_queue.register_worker(
         background_queue.register_supervisor('here', 1, 'test', 1, null, null), 'here', 1, session_user, false,
         pg_backend_pid(), clock_timestamp(), pg_postmaster_start_time(), 'secret') as worker`,
    )
    worker = row.worker
    session.watchInbox()
  })
  afterEach(async () => {
    await session.close()
    await db.owner.query('delete from background_queue.workers')
  })

  const ask = async ({ messages, rowIn }: Call) => {
    const answers = await session.exchange({ messages, answers: messages.length, rowIn })
    expect(answers).toHaveLength(messages.length)
    return { answers, row: answers[rowIn]!.value }
  }
  const status = () =>
    (session.client as unknown as { getTransactionStatus(): string }).getTransactionStatus()
  const state = async (id: bigint) =>
    (await db.owner.one<{ state: string }>('select state::text from pg_background_tasks where id = $1', [id]))
      .state

  test.each([
    ['', false],
    ['reset all', false],
    ['', true],
    ['reset all', true],
  ])('claim and finish a task, behind %j, wrapped: %s', async (before, isWrapped) => {
    const sql = `select 'ä "quoted" \\back, (slash)'`
    const { id } = await db.owner.one<{ id: bigint }>('select pg_background_enqueue($1) as id', [sql])
    const claimed = await ask(calls.claim([worker, 'secret'], before, isWrapped))
    expect(claimed.answers.filter(({ error }) => error)).toEqual([])
    const { claim } = readClaimed(readRow(claimed.row!))
    expect(claim).toMatchObject({ id, sql, topic: null, mode: 'auto', attempt: 1, maxTasksPerCommit: 1 })
    expect(status()).toBe('T')
    expect(await state(id)).toBe('running')

    const values = [[id], claim!.token, [1], ['SELECT'], null, worker, 'secret', false]
    const finished = await ask(calls.finish(values, before, 'reset all'))
    expect(finished.answers.filter(({ error }) => error)).toEqual([])
    expect(readClaimed(readRow(finished.row!))).toMatchObject({ claim: undefined, waitMs: null })
    expect(status()).toBe('T')
    expect(await state(id)).toBe('finished')
  })

  test('commit nothing where the finish fails', async () => {
    const call = calls.finish([[0], 'none', [1], ['SELECT'], null, worker, 'secret', false], '', 'reset all')
    await session.query('begin')
    await session.query(`select pg_background_enqueue('select 1', 'lost')`)
    const { answers } = await ask(call)
    expect(answers[call.rowIn]!.error).toMatchObject({ code: 'PQ001' })
    expect(answers[call.rowIn + 1]).toMatchObject({ tags: [], error: { code: '25P02' } })
    await session.query('rollback')
    expect(await db.owner.query(`select from pg_background_tasks where topic = 'lost'`)).toEqual([])
  })

  test('refuse a worker that shows another secret', async () => {
    const call = calls.claim([worker, 'guessed'], '', false)
    const { answers } = await ask(call)
    expect(answers[call.rowIn]!.error).toMatchObject({ code: 'PQ003' })
  })
})

test('where the queue is not installed, it is known before a call', async () => {
  const session = await Database.connect(empty.target(OWNER), { applicationName: 'test' })
  expect(new Calls(await readDefaults(session), false).isInstalled).toBe(false)
  await session.close()
})
