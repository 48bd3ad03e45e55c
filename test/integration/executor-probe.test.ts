import { test } from 'vitest'
import { useDatabase } from '../support/database.js'
import { useExecutor } from '../support/executor.js'
const db = useDatabase()
const ex = useExecutor(db)
test('probe', async () => {
  await db.owner.query('create table t (a int primary key, b int unique deferrable initially deferred)')
  await db.owner.query('grant all on schema public to public')
  const list = [
    'insert into t values (1,1),(2,2)', 'vacuum analyze t', 'create index concurrently i on t(b)', "set work_mem='1MB'; vacuum t",
    'select 1 a into si', 'copy t from stdin', 'copy t to stdout', 'select 1', ';', '-- c', 'begin; select 1; commit', 'begin', 'commit', 'commit and chain', 'rollback and chain',
    'select 1; commit', 'savepoint a', 'insert into t values (3,3); select 2', 'insert into t values (4,3)', 'do $$begin commit; end$$', 'create procedure p() language plpgsql as $$begin insert into t values (10,10); commit; insert into t values (11,11); end$$', 'call p()',
    'listen a', 'notify a', 'explain analyze select 1', 'show work_mem', 'declare c cursor for select 1', 'prepare x as select 1; execute x', 'table t', 'values (1),(2)', 'select 1; copy t from stdin; select 2', 'discard all', 'lock t', 'set transaction isolation level serializable; select 1', 'select 1; set transaction isolation level serializable', 'prepare transaction \'a\'', 'create database if_x', 'checkpoint',
  ]
  for (const sql of list) {
    const { ending: _, id: __, retryCount: ___, errors: ____, ...o } = await Promise.race([ex.run(sql), new Promise<any>((r) => setTimeout(() => r({ HANG: true }), 4000))])
    console.log(sql.slice(0, 60).padEnd(60), JSON.stringify(Object.fromEntries(Object.entries(o).filter(([, v]) => v !== null && v !== 0)), (k, v) => typeof v === 'bigint' ? Number(v) : v))
  }
}, 120000)
