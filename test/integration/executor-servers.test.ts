import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { Database } from '../../src/engine/database/database.js'
import { resolveTarget } from '../../src/engine/database/target.js'
import { install } from '../../src/engine/migrator.js'
import { type TestDatabase, useDatabase } from '../support/database.js'
import { useExecutor } from '../support/executor.js'
import { OWNER, withDatabase, withUser } from '../support/names.js'

const db = useDatabase()

/** A database of the encoding SQL_ASCII beside the test file's own. */
function useAsciiDatabase(): TestDatabase {
  const sessions: Database[] = []
  const url = (role = OWNER) => withUser(withDatabase(inject('serverUrl'), `${db.name}_ascii`), role)
  const open = async (address: string): Promise<Database> => {
    const session = await Database.connect(resolveTarget(address), { applicationName: 'pgbq tests' })
    sessions.push(session)
    return session
  }
  const ascii = {
    url,
    target: (role?: string) => resolveTarget(url(role)),
    session: (role?: string) => open(url(role)),
  } as { -readonly [K in keyof TestDatabase]: TestDatabase[K] }
  beforeAll(async () => {
    const { version } = await db.admin.one<{ version: number }>(
      `select current_setting('server_version_num')::integer as version`,
    )
    await db.admin.query(`create database ${db.name}_ascii owner ${OWNER} template template0
      encoding 'SQL_ASCII' lc_collate 'C' lc_ctype 'C' ${version >= 150000 ? `locale_provider 'libc'` : ''}`)
    ascii.owner = await open(url())
    await install(ascii.owner)
  })
  afterAll(async () => {
    await Promise.all(sessions.map((session) => session.close()))
    await db.admin.query(`drop database if exists ${db.name}_ascii with (force)`)
  })
  return ascii
}

const ascii = useAsciiDatabase()
const onAscii = useExecutor(ascii)
const executor = useExecutor(db)
const rival = useExecutor(db)

test('runs tasks in a database of the encoding SQL_ASCII', async () => {
  await ascii.owner.query('create table texts (text text)')
  expect(await onAscii.run(`insert into texts values ('é€😀')`)).toMatchObject({
    state: 'finished',
    rows: 1n,
  })
  expect(await onAscii.run(`insert into texts values ('1'); insert into texts values ('é')`)).toMatchObject({
    state: 'finished',
  })
  expect(await ascii.owner.query('select text from texts')).toEqual([
    { text: 'é€😀' },
    { text: '1' },
    { text: 'é' },
  ])
  expect(await onAscii.run('vacuum texts')).toMatchObject({ state: 'finished', tag: 'VACUUM' })
  expect(await onAscii.run(`select 'é'::integer`)).toMatchObject({
    state: 'failed',
    message: 'invalid input syntax for type integer: "é"',
  })
})

test('decides by codes, not by words: on a server of another language', async ({ skip }) => {
  const [found] = await db.admin.query<{ name: string }>(
    `select collname || '.UTF-8' as name from pg_collation where collname ~ '^(de_DE|fr_FR|es_ES)$' limit 1`,
  )
  if (!found) return skip('the server has no locale but English ones')
  await db.admin.query(`alter role ${OWNER} in database ${db.name} set lc_messages = '${found.name}'`)
  expect(await executor.run('vacuum')).toMatchObject({ state: 'finished' })
  expect(await executor.run('do $$ begin commit; end $$')).toMatchObject({ state: 'finished' })
  expect(await executor.run('select 1; select 2')).toMatchObject({ state: 'finished' })
  expect(await executor.run('select 1; commit')).toMatchObject({ state: 'failed', sqlstate: '0A000' })
})

test('finishes all of many SERIALIZABLE tasks that have nothing to do with one another', async () => {
  await db.owner.query('create table one (id integer)')
  const ids = []
  for (let n = 0; n < 400; n++) {
    ids.push(await executor.enqueue(`insert into one values (${n})`, { isolation: 'serializable' }))
  }
  await Promise.all([executor.drain(), rival.drain()])
  const states = await db.owner.query(
    'select state::text, errors, count(*)::integer from pg_background_tasks where id = any($1) group by 1, 2',
    [ids],
  )
  expect(states).toEqual([{ state: 'finished', errors: null, count: 400 }])
  expect(await db.owner.one('select count(*), count(distinct id) as ids from one')).toEqual({
    count: 400n,
    ids: 400n,
  })
})
