import { beforeEach, expect, test } from 'vitest'
import { useDatabase } from '../support/database.js'
import { useExecutor } from '../support/executor.js'

const db = useDatabase()
const executor = useExecutor(db)

/** The next `times` writes of that state into a task's row fail with that SQLSTATE. */
async function fail(state: string, sqlstate: string, times: number): Promise<void> {
  await db.owner.query(`create or replace function sabotage() returns trigger language plpgsql as $$ begin
      if new.state = '${state}' and nextval('public.sabotages') <= ${times} then
        raise exception 'sabotaged' using errcode = '${sqlstate}'; end if;
      return new; end $$;
    create trigger sabotage before update on pg_background_tasks for each row execute function sabotage()`)
}

beforeEach(async () => {
  await db.owner.query(`drop trigger if exists sabotage on pg_background_tasks;
    drop sequence if exists sabotages; create sequence sabotages;
    create table if not exists effects (n integer); truncate effects; truncate pg_background_tasks`)
})
const effects = async () => (await db.owner.query('select from effects')).length

test.each([
  ['53100', 'disk full'],
  ['53300', 'too many connections'],
  ['57P03', 'cannot connect now'],
  ['57014', 'a cancel or time-out that nobody asked of the task'],
  ['58030', 'an I/O error'],
  ['XX000', 'an internal error'],
  ['40P01', 'a deadlock'],
  ['55P03', 'a lock that was not to be had'],
])(
  'gives a task back whose finish met %s (%s): no retry spent, nothing of it committed',
  async (sqlstate) => {
    await fail('finished', sqlstate, 1)
    const id = await executor.enqueue('insert into effects values (1)', { max_retries: 3 })
    await executor.drain()
    const released = await executor.outcome(id)
    expect(released).toMatchObject({ retryCount: 0, failures: 1 })
    expect(released.message).toMatch(/^A statement of the queue beside the task's failed: .*sabotaged$/)
    await executor.drain()
    expect(await executor.outcome(id)).toMatchObject({ state: 'finished', retryCount: 0, errors: null })
    expect(await effects()).toBe(1)
  },
)

test('fails a task whose finish met an error that does not pass', async () => {
  await fail('finished', 'P0001', 1)
  const outcome = await executor.run('insert into effects values (1)')
  expect(outcome).toMatchObject({ state: 'failed', sqlstate: 'P0001', message: 'sabotaged' })
  expect(await effects()).toBe(0)
})

test('still blames a task for such errors of its own', async () => {
  for (const sqlstate of ['53200', '57014', 'XX000', '40P01']) {
    const outcome = await executor.run(
      `do $$ begin raise exception 'mine' using errcode = '${sqlstate}'; end $$`,
    )
    expect(outcome).toMatchObject({ state: 'failed', sqlstate, message: 'mine' })
  }
})

test('records what has happened outside a transaction again, and does not do it again', async () => {
  await fail('finished', '40P01', 2)
  const id = await executor.enqueue('vacuum effects')
  expect(await executor.drain()).toBe(true)
  expect(await executor.outcome(id)).toMatchObject({ state: 'finished', failures: 0 })
})

test('records a failure again', async () => {
  await fail('failed', '53100', 2)
  const outcome = await executor.run('select 1/0')
  expect(outcome).toMatchObject({ state: 'failed', sqlstate: '22012', failures: 1 })
})

test('leaves a session that cannot claim, and loses nothing', async () => {
  await fail('running', '53100', 1)
  const id = await executor.enqueue('insert into effects values (1)')
  expect(await executor.drain()).toBe(false)
  expect(await executor.outcome(id)).toMatchObject({ state: 'pending', failures: 0 })
  await executor.drain()
  expect(await executor.outcome(id)).toMatchObject({ state: 'finished', failures: 0 })
})
