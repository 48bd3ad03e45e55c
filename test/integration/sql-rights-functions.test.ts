import { parse, parsePlPgSQL } from 'libpg-query'
import { beforeAll, expect, test } from 'vitest'
import { useDatabase } from '../support/database.js'
import { ALICE } from '../support/names.js'

/** Which objects a function of ours finds must not depend on the caller's search_path or temporary schema. */

const db = useDatabase()
const PINNED = 'search_path=pg_catalog, pg_temp'

interface FunctionRow extends Record<string, unknown> {
  signature: string
  definition: string
  is_definer: boolean
  is_pinned: boolean
  alice_may: boolean
}

let functions: FunctionRow[]
beforeAll(async () => {
  await db.owner.query('select background_queue.grant_enqueue($1)', [ALICE])
  functions = await db.owner.query<FunctionRow>(
    `select p.oid::regprocedure::text as signature, pg_get_functiondef(p.oid) as definition, p.prosecdef as is_definer,
       $1 = any (coalesce(p.proconfig, '{}')) as is_pinned, has_function_privilege($2, p.oid, 'execute') as alice_may
     from pg_proc p where p.pronamespace = 'background_queue'::regnamespace
       or (p.pronamespace = 'public'::regnamespace and p.proname like 'pg\\_background\\_%') order by 1`,
    [PINNED, ALICE],
  )
})

test('pins the search_path of every function with the rights of its definer', () => {
  const definers = functions.filter((f) => f.is_definer)
  expect(definers.length).toBeGreaterThanOrEqual(10)
  expect(definers.filter((f) => !f.is_pinned).map((f) => f.signature)).toEqual([])
})

test('pins what runs for whoever writes a row of a table of ours', async () => {
  const attached = await db.owner.query<{ signature: string; is_pinned: boolean }>(
    `select distinct p.oid::regprocedure::text as signature, $1 = any (coalesce(p.proconfig, '{}')) as is_pinned
     from pg_proc p where p.oid in (select g.tgfoid from pg_trigger g union select d.refobjid from pg_depend d
       join pg_constraint c on c.oid = d.objid and d.classid = 'pg_constraint'::regclass
       where d.refclassid = 'pg_proc'::regclass) and p.pronamespace = 'background_queue'::regnamespace order by 1`,
    [PINNED],
  )
  expect(attached.length).toBeGreaterThanOrEqual(7)
  expect(attached.filter((f) => !f.is_pinned)).toEqual([])
})

test('leaves unpinned, of what an enqueuer may call, only what has to run with the path of its caller', () => {
  expect(functions.filter((f) => f.alice_may && !f.is_pinned).map((f) => f.signature)).toEqual([
    'background_queue.pass()',
    'background_queue.run_each(text[],boolean)',
    'background_queue.run_text(text)',
    'background_queue.undo()',
    'pg_background_cancel(bigint)',
    'pg_background_enqueue(text,text)',
    'pg_background_enqueue(text,text,jsonb)',
    'pg_background_queue_calibrate_workers_count()',
    'pg_background_queue_ensure_workers()',
    'pg_background_retry(bigint)',
  ])
})

test('names in those each object with its schema, and no operator', async () => {
  for (const { signature, definition } of functions.filter((f) => f.alice_may && !f.is_pinned)) {
    const parsed = await parsePlPgSQL(definition)
    // a parameter's type was found at the creation, by its oid; EXCEPTION declares two by itself
    const declared = (valuesOf(parsed, 'PLpgSQL_var') as { refname: string; lineno?: number }[]).filter(
      (v) => v.lineno !== undefined && !['sqlstate', 'sqlerrm'].includes(v.refname),
    )
    const types = valuesOf(declared, 'typname')
    const texts = valuesOf(parsed, 'query')
      .filter((query) => typeof query === 'string')
      .map((query) => query.replace(/^\w+ := /, ''))
    const queries = [...texts, ...types.map((name) => `null::${name}`)] as string[]
    expect(queries.length, signature).toBeGreaterThan(0)
    for (const query of queries) {
      const isWhole = /^(insert|select|set|reset|execute|unlisten|discard|deallocate)\b/i.test(query.trim())
      const tree = await parse(isWhole ? query : `select ${query}`)
      expect(unqualified(tree), `${signature}: ${query}`).toEqual([])
    }
  }
})

test('finds names without a schema where there are some', async () => {
  const bad = ['select 1 from t', 'select f(1)', 'select 1 + 2', 'select null::t', 'select now()']
  for (const sql of bad) expect(unqualified(await parse(sql)), sql).not.toEqual([])
  expect(unqualified(await parse('select s.f(null::bigint) from s.t'))).toEqual([])
})

/** Every value under this key, however deep. */
function valuesOf(tree: unknown, key: string): unknown[] {
  if (typeof tree !== 'object' || tree === null) return []
  return Object.entries(tree).flatMap(([k, v]) => [...(k === key ? [v] : []), ...valuesOf(v, key)])
}

/** Relations, functions, operators and types that a search would have to find. */
function unqualified(tree: unknown): unknown[] {
  const named = { FuncCall: 'funcname', A_Expr: 'name', TypeName: 'names', typeName: 'names' } as const
  const relations = [...valuesOf(tree, 'RangeVar'), ...valuesOf(tree, 'relation')] as {
    schemaname?: string
  }[]
  return [
    ...relations.filter((r) => r.schemaname === undefined),
    ...Object.entries(named).flatMap(([kind, names]) =>
      (valuesOf(tree, kind) as Record<string, unknown[]>[]).filter((node) => node[names]!.length < 2),
    ),
  ]
}
