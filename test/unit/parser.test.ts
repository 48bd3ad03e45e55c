import { expect, test } from 'vitest'
import {
  findTransactionControl,
  isSetting,
  leavesNoSessionState,
  mayCommit,
  parseStatements,
  runsOutsideTransaction,
  type Statement,
} from '../../src/engine/worker/parser.js'

async function only(sql: string): Promise<Statement> {
  const statements = await parseStatements(sql)
  expect(statements).toHaveLength(1)
  return statements![0]!
}

test('splits a text into statements and counts the characters before each', async () => {
  const text = `select 'é€😀;'; -- ;\n /* ; */ select $$;$$ ;; create function f() returns int begin atomic select 1; select 2; end; select 3`
  const statements = (await parseStatements(text))!
  expect(statements.map((s) => s.text.trim())).toEqual([
    `select 'é€😀;'`,
    'select $$;$$',
    'create function f() returns int begin atomic select 1; select 2; end',
    'select 3',
  ])
  for (const { text: own, offset } of statements) {
    expect([...text].slice(offset, offset + [...own].length).join('')).toBe(own)
  }
})

test('knows no statement in an empty text, and does not know what the grammar refuses', async () => {
  expect(await parseStatements(' ; -- nothing\n')).toEqual([])
  expect(await parseStatements('selec 1')).toBeUndefined()
  expect(await parseStatements(`select ${'('.repeat(20_000)}1${')'.repeat(20_000)}`)).toBeUndefined()
  expect(await parseStatements('select 1')).toHaveLength(1)
})

test.each<[sql: string, command: string | undefined]>([
  ['begin', 'begin'],
  ['select 1;COMMIT AND CHAIN', 'COMMIT AND CHAIN'],
  ['/* x */ rollback', 'rollback'],
  ['-- x\rend', 'end'],
  ['select 1;\f\v savepoint a', 'savepoint a'],
  ['select case when true then 1\nend', undefined],
  ['do $$ begin null; end $$', undefined],
  [`select ';commit'`, undefined],
  ['prepare p as select 1', undefined],
  ['select 1 as begin', undefined],
  ['create function f() returns int begin atomic select 1; end', undefined],
])('finds in %j the transaction command %j', async (sql, command) => {
  expect(await findTransactionControl(sql)).toBe(command)
})

test('looks through a long text without one quickly', async () => {
  for (const part of ['-', '-- ', '\n', ' ', ';', '/* ', "'", '; \t']) {
    const start = performance.now()
    await findTransactionControl(`select ${part.repeat(1_000_000 / part.length)}`)
    expect(performance.now() - start).toBeLessThan(1000)
  }
})

test.each([
  'vacuum',
  'vacuum (analyze) t',
  'create index concurrently on t (a)',
  'create unique index concurrently if not exists i on t (a)',
  'drop index concurrently i',
  'reindex table concurrently t',
  'reindex (verbose, concurrently) index i',
  'reindex database d',
  'reindex schema s',
  'reindex system d',
  'cluster',
  'create database d',
  'drop database if exists d',
  'alter system set work_mem = 1',
  `create tablespace x location '/x'`,
  'drop tablespace x',
  'discard all',
])('knows that %j cannot run in a transaction', async (sql) => {
  expect(runsOutsideTransaction(await only(sql))).toBe(true)
})

test.each([
  'analyze',
  'create index on t (a)',
  'drop index i',
  'reindex table t',
  'cluster t',
  'discard temp',
  'alter database d set work_mem = 1',
  'call p()',
  'do $$ begin end $$',
])('lets %j try to run in a transaction', async (sql) => {
  expect(runsOutsideTransaction(await only(sql))).toBe(false)
})

test('knows what may commit by itself, and what a rescue can repeat', async () => {
  expect(mayCommit(await only('call p()'))).toBe(true)
  expect(mayCommit(await only('do $$ begin end $$'))).toBe(true)
  expect(mayCommit(await only('select p()'))).toBe(false)
  for (const sql of [
    'set a.b = 1',
    'reset work_mem',
    'set role r',
    'discard all',
    'set session authorization default',
  ])
    expect(isSetting(await only(sql))).toBe(true)
})

test.each<[sql: string, isClean: boolean]>([
  ['select f()', true],
  ['insert into t values (1)', true],
  ['create table t (a int)', true],
  ['create function f() returns int language sql as $$ select 1 $$', true],
  ['vacuum', true],
  ['call p()', true],
  ['do $$ begin perform 1; end $$', true],
  ['lock table t', true],
  ['create temp table t (a int)', false],
  ['create temp table t as select 1', false],
  ['select 1 into temp t', false],
  ['create table pg_temp.t (a int)', false],
  ['create temp view v as select 1', false],
  ['create temp sequence s', false],
  ['do $$ begin create temporary table t (a int); end $$', false],
  ['prepare p as select 1', false],
  ['declare c cursor with hold for select 1', false],
  ['listen x', false],
  [`load 'x'`, false],
  [`select set_config('a.b', 'c', false)`, false],
  ['select pg_advisory_lock(1)', false],
  ['select pg_try_advisory_lock_shared(1)', false],
  ['select setseed(0.5)', false],
])('can go on behind %j in another session: %s', async (sql, isClean) => {
  expect(leavesNoSessionState(await only(sql))).toBe(isClean)
})
