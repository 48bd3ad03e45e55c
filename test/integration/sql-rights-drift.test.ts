import { readFileSync } from 'node:fs'
import { beforeAll, describe, expect, test } from 'vitest'
import { install } from '../../src/engine/migrator.js'
import { useDatabase } from '../support/database.js'
import { ALICE, OWNER } from '../support/names.js'
import { failure, useRole } from './sql-support.js'

const db = useDatabase()
const MALLORY = useRole(db, 'mallory')

beforeAll(async () => {
  await db.owner.query('select background_queue.grant_enqueue($1)', [ALICE])
  await db.admin.query(`grant create on schema public to ${MALLORY}`)
})

const problems = () =>
  db.owner.query<{ object: string; grantee: string | null; privilege: string | null; problem: string }>(
    'select * from background_queue.rights_problems() order by problem',
  )

test('finds nothing where a role was granted and nothing else was done', async () => {
  expect(await problems()).toEqual([])
})

describe('finds', () => {
  // what is done by the owner, m: mallory; the first three columns of what is found; whether an install repairs it
  test.each<
    [what: string, sql: string, found: [object: string, grantee: string | null, right: string | null][]]
  >([
    [
      'a table granted by hand',
      'grant select on background_queue.workers to m',
      [['background_queue.workers', 'm', 'SELECT']],
    ],
    [
      'a column granted by hand',
      'grant update (value) on background_queue.settings to m',
      [['background_queue.settings(value)', 'm', 'UPDATE']],
    ],
    [
      'a right on the tasks that an enqueuer does not need',
      `grant delete on pg_background_tasks to ${ALICE}`,
      [['public.pg_background_tasks', ALICE, 'DELETE']],
    ],
    [
      'a right that may be passed on',
      `grant select on pg_background_tasks to ${ALICE} with grant option`,
      [
        ['public.pg_background_tasks', ALICE, 'SELECT'],
        ['public.pg_background_tasks', ALICE, 'SELECT WITH GRANT OPTION'],
      ],
    ],
    [
      'a column that names the caller',
      `grant insert (caller) on background_queue.inbox to ${ALICE}`,
      [['background_queue.inbox(caller)', ALICE, 'INSERT']],
    ],
    [
      'an inner function granted to everybody',
      'grant execute on function background_queue.calibrate() to public',
      [['routine background_queue.calibrate()', 'PUBLIC', 'EXECUTE']],
    ],
    [
      'a sequence granted by hand',
      'grant usage on sequence pg_background_tasks_id_seq to m',
      [['sequence public.pg_background_tasks_id_seq', 'm', 'USAGE']],
    ],
    [
      'the right to create in our schema',
      'grant create on schema background_queue to m',
      [['schema background_queue', 'm', 'CREATE']],
    ],
    [
      'what default privileges handed out on a view that was made anew',
      `alter default privileges grant select on tables to m;
       create or replace view background_queue.extra as select 1 as one;
       alter default privileges revoke select on tables from m`,
      [['background_queue.extra', 'm', 'SELECT']],
    ],
    [
      'what default privileges handed out on a function',
      `alter default privileges in schema background_queue grant execute on functions to m;
       create function background_queue.extra() returns integer language sql as 'select 1';
       alter default privileges in schema background_queue revoke execute on functions from m`,
      [
        ['routine background_queue.extra()', 'PUBLIC', 'EXECUTE'],
        ['routine background_queue.extra()', 'm', 'EXECUTE'],
      ],
    ],
    [
      'a function that an enqueuer lacks',
      `revoke execute on function background_queue.finish(bigint, text, bigint, text) from ${ALICE}`,
      [['routine background_queue.finish(bigint,text,bigint,text)', ALICE, 'EXECUTE']],
    ],
    [
      'a column that an enqueuer lacks',
      `revoke insert (topic) on background_queue.inbox from ${ALICE}`,
      [['background_queue.inbox(topic)', ALICE, 'INSERT']],
    ],
    [
      'row security switched off',
      'alter table pg_background_tasks disable row level security',
      [['public.pg_background_tasks', null, null]],
    ],
  ])('%s, and install repairs it', async (_, sql, found) => {
    await db.owner.query(sql.replace(/\bm\b/g, MALLORY))
    const rows = await problems()
    expect(rows.map((r) => [r.object, r.grantee, r.privilege])).toEqual(
      expect.arrayContaining(found.map((row) => row.map((v) => (v === 'm' ? MALLORY : v)))),
    )
    expect(rows).toHaveLength(found.length)
    await db.owner.query('drop view if exists background_queue.extra')
    await install(db.owner)
    expect(await problems()).toEqual([])
  })

  test('the rights of a role that was not granted by us as a whole', async () => {
    await db.owner.query(`grant insert (sql_statement) on background_queue.inbox to ${MALLORY}`)
    const found = await problems()
    expect(found.map((r) => r.problem)).toContain(
      `${MALLORY} may enqueue, but lacks SELECT on public.pg_background_tasks`,
    )
    await db.owner.query('select background_queue.revoke_enqueue($1)', [MALLORY])
    expect(await problems()).toEqual([])
  })

  test.each<[what: string, plant: string, drop: string, problem: string]>([
    [
      'an overload in the place of a function',
      'create function public.pg_background_enqueue(varchar) returns bigint language sql as $$ select 1::bigint $$',
      'drop function public.pg_background_enqueue(varchar)',
      'public.pg_background_enqueue(character varying) of m is not',
    ],
    [
      'a procedure of the same name',
      'create procedure public.pg_background_cancel(text) language sql as $$ select 1 $$',
      'drop procedure public.pg_background_cancel(text)',
      'public.pg_background_cancel(text) of m is not',
    ],
  ])('%s, which install refuses to stand beside', async (_, plant, drop, problem) => {
    const mallory = await db.session(MALLORY)
    await mallory.query(plant)
    expect((await problems())[0]!.problem).toContain(problem.replace(' m ', ` ${MALLORY} `))
    await expect(install(db.owner)).rejects.toThrow(MALLORY)
    await mallory.query(drop)
    expect(await problems()).toEqual([])
  })

  test('objects that belong to another', async () => {
    await db.admin.query(
      'alter function background_queue.tick(bigint, boolean, text[]) owner to current_user',
    )
    await db.admin.query('create table background_queue.extra ()')
    const found = (await problems()).filter((r) => r.privilege === 'OWNER').map((r) => r.object)
    expect(found.sort()).toEqual(['background_queue.extra', 'background_queue.tick(bigint,boolean,text[])'])
    await db.admin.query('drop table background_queue.extra')
    await db.admin.query(`alter function background_queue.tick(bigint, boolean, text[]) owner to ${OWNER}`)
    await install(db.owner)
    expect(await problems()).toEqual([])
  })

  test('that PUBLIC may create where the queue stands', async () => {
    await db.admin.query('grant create on schema public to public')
    expect(await problems()).toMatchObject([
      { object: 'schema public', grantee: 'PUBLIC', privilege: 'CREATE' },
    ])
    await db.admin.query('revoke create on schema public from public')
  })

  test('a policy that shows the tasks of others', async () => {
    await db.owner.query('create policy more on pg_background_tasks using (true)')
    expect(await problems()).toMatchObject([{ problem: "the policy more is not the queue's" }])
    await db.owner.query('drop policy more on pg_background_tasks')
  })

  test('an enqueuer that cannot use the schema of the queue', async () => {
    await db.admin.query('revoke usage on schema public from public')
    expect(await problems()).toMatchObject([{ object: 'schema public', grantee: ALICE, privilege: 'USAGE' }])
    await db.admin.query('grant usage on schema public to public')
  })
})

test('takes what was passed on together with the right itself', async () => {
  await db.owner.query(`grant select on background_queue.workers to ${MALLORY} with grant option`)
  const mallory = await db.session(MALLORY)
  await db.owner.query(`grant usage on schema background_queue to ${MALLORY}`)
  await mallory.query(`grant select on background_queue.workers to ${ALICE}`)
  await install(db.owner)
  expect(await problems()).toEqual([])
})

test('grants what the README says, and nothing else', async () => {
  const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8')
  const grants = readme.match(/```sql\n(GRANT USAGE[\s\S]*?)```/)![1]!
  // a grant of the schema public is its owner's to make
  await db.owner.query(grants.replace('SCHEMA public, ', 'SCHEMA ').replaceAll('TO role;', `TO ${MALLORY};`))
  expect(await problems()).toEqual([])
  expect(await db.owner.query('select background_queue.enqueuers() as role order by 1')).toEqual([
    { role: ALICE },
    { role: MALLORY },
  ])
  await db.owner.query('select background_queue.revoke_enqueue($1)', [MALLORY])
})

test('quotes every name', async () => {
  const odd = `odd"; drop table 'x' --`
  const quoted = `"${odd.replaceAll('"', '""')}"`
  await db.admin.query(`create role ${quoted}`)
  try {
    await db.owner.query('select background_queue.grant_enqueue($1)', [odd])
    expect(await problems()).toEqual([])
    await db.owner.query(`grant delete on background_queue.workers to ${quoted}`)
    expect(await problems()).toMatchObject([{ grantee: odd }])
    await install(db.owner)
    await db.owner.query('select background_queue.revoke_enqueue($1)', [odd])
    expect((await failure(db.admin.query(`drop role ${quoted}; select 1 / 0`))).sqlstate).toBe('22012')
  } finally {
    await db.admin.query(`drop owned by ${quoted}; drop role ${quoted}`)
  }
})
