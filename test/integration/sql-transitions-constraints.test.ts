import { expect, test } from 'vitest'
import { useDatabase } from '../support/database.js'
import { emptyQueueBeforeEach, failure } from './sql-support.js'

const db = useDatabase()
emptyQueueBeforeEach(db)

const HASH = 'sha256(convert_to($$t$$, $$UTF8$$))'

test.each([
  ['blank SQL', 'statement_is_not_blank', { sql_statement: `E' \\n\\t'` }],
  ['a topic of 201 characters', 'topic_has_1_to_200_characters', { topic: `repeat('x', 201)` }],
  ['pending and closed', 'waiting_has_not_ended', { closed_at: 'now()' }],
  [
    'running and closed',
    'waiting_has_not_ended',
    { state: `'running'`, started_at: 'now()', closed_at: 'now()' },
  ],
  [
    'retrying and closed',
    'waiting_has_not_ended',
    { state: `'retrying'`, started_at: 'now()', closed_at: 'now()', errors: `'x'` },
  ],
  ['finished without an end', 'closed_has_ended', { state: `'finished'` }],
  ['failed without an end', 'closed_has_ended', { state: `'failed'` }],
  ['cancelled without an end', 'closed_has_ended', { state: `'cancelled'` }],
  ['pending and started', 'pending_has_not_started', { started_at: 'now()' }],
  ['running and not started', 'running_has_started', { state: `'running'` }],
  ['retrying and never started', 'running_has_started', { state: `'retrying'`, errors: `'x'` }],
  [
    'finished with errors',
    'finished_has_no_errors',
    { state: `'finished'`, closed_at: 'now()', errors: `'x'` },
  ],
  ['retrying without errors', 'retrying_has_errors', { state: `'retrying'`, started_at: 'now()' }],
  ['pending and claimed', 'only_running_is_claimed', { token_hash: HASH, worker_id: '1' }],
  ['pending and asked to end', 'only_running_is_claimed', { end_requested: `'cancel'` }],
  [
    'finished and claimed',
    'only_running_is_claimed',
    { state: `'finished'`, closed_at: 'now()', token_hash: HASH, worker_id: '1' },
  ],
  [
    'claimed without a worker',
    'claim_is_whole',
    { state: `'running'`, started_at: 'now()', token_hash: HASH },
  ],
  ['claimed without a token', 'claim_is_whole', { state: `'running'`, started_at: 'now()', worker_id: '1' }],
  [
    'asked to end for an unknown reason',
    'end_requested_is_known',
    { state: `'running'`, started_at: 'now()', end_requested: `'whim'` },
  ],
  ['of an unknown mode', 'mode_is_known', { mode: `'fast'` }],
  ['of an unknown isolation', 'isolation_is_known', { isolation: `'none'` }],
  ['with negative retries', 'retries_are_counted', { retry_count: '-1' }],
  ['with 1001 retries', 'retries_are_counted', { max_retries: '1001' }],
  ['with a negative timeout', 'timeout_is_positive', { timeout_in_sec: '-1' }],
])('refuses a row that is %s', async (_, constraint, values) => {
  const row: Record<string, string> = { sql_statement: `'select 1'`, ...values }
  const refused = await failure(
    db.owner.query(
      `insert into pg_background_tasks (${Object.keys(row).join()}) values (${Object.values(row).join()})`,
    ),
  )
  expect(refused).toMatchObject({ sqlstate: '23514', constraint })
})

test.each([
  ['no SQL', 'insert into pg_background_tasks (topic) values ($$a$$)', '23502'],
  [
    'an unknown state',
    `insert into pg_background_tasks (sql_statement, state) values ('select 1', 'done')`,
    '22P02',
  ],
  [
    'the id of another',
    `insert into pg_background_tasks (id, sql_statement) values (1, 'a'), (1, 'b')`,
    '23505',
  ],
  [
    'a second active task of one key and role',
    `insert into pg_background_tasks (sql_statement, unique_key) values ('a', 'k'), ('b', 'k')`,
    '23505',
  ],
  [
    'an incomplete row for the whole queue among the lanes',
    `update background_queue.lanes set max_running = null where lane = ''`,
    '23514',
  ],
  [
    'an unknown outcome',
    `insert into background_queue.attempts (task_id, outcome) values (1, 'lost')`,
    '23514',
  ],
  [
    'a second identity of the queue',
    'insert into background_queue.queue (system_identifier, database_oid) values (1, 1)',
    '23505',
  ],
])('refuses %s', async (_, sql, sqlstate) => {
  expect((await failure(db.owner.query(sql))).sqlstate).toBe(sqlstate)
})

test('moves a task from each state only where the table lets it', async () => {
  await db.owner.query(`insert into pg_background_tasks (sql_statement) values ('select 1')`)
  const set = (changes: string) => db.owner.query(`update pg_background_tasks set ${changes}`)
  expect((await failure(set(`state = 'running'`))).constraint).toBe('running_has_started')
  expect((await failure(set(`state = 'finished'`))).constraint).toBe('closed_has_ended')
  await set(`state = 'running', started_at = now(), worker_id = 1, token_hash = ${HASH}`)
  expect((await failure(set(`state = 'finished', closed_at = now()`))).constraint).toBe(
    'only_running_is_claimed',
  )
  expect((await failure(set(`state = 'pending', worker_id = null, token_hash = null`))).constraint).toBe(
    'pending_has_not_started',
  )
})
