import type { Row } from '../database/database.js'
import { psqlCommand } from '../shell-word.js'
import { inSchema, namedQuery, readFunctions, readMigrations } from '../sql-files.js'
import { count, type Finding, ok, type Patient, problem } from './check.js'

interface Routine extends Row {
  schema: string
  name: string
  body: string
  is_definer: boolean
  settings: string[]
}

interface FoundRoutine extends Routine {
  signature: string
}

const DEFINITION = /create (?:or replace )?function\s+([^\s(]+)\s*(\([^$]*)\$\$([\s\S]*?)\$\$/gi

/** The functions that an install of this program makes, read from its own files. */
export function shippedRoutines(schema: string): Routine[] {
  const read = (text: string): Routine[] =>
    [...inSchema(text, schema).matchAll(DEFINITION)].map(([, name, header, body]) => {
      const [first, second] = name!.replaceAll('"', '').split('.') as [string, string]
      return {
        schema: first,
        name: second,
        body: body!,
        is_definer: /security definer/i.test(header!),
        settings: /set search_path/i.test(header!) ? ['search_path'] : [],
      }
    })
  const current = read(readFunctions())
  const held = read(
    readMigrations()
      .map((m) => m.text)
      .join('\n'),
  )
  return [...held.filter((h) => !current.some((c) => c.name === h.name)), ...current]
}

/** Each function is as this program ships it, there is none beside them, and no trigger of ours is off. */
export async function checkFunctions({ database, schema }: Patient): Promise<Finding | Finding[]> {
  const shipped = shippedRoutines(schema)
  const found = await database.query<FoundRoutine>(namedQuery('routines'), [schema])
  const triggers = await database.query<{ name: string; relation: string }>(namedQuery('silent_triggers'))
  const findings = [
    ...drift(shipped, found),
    ...found
      .filter((f) => f.schema === 'background_queue' && !shipped.some((s) => s.name === f.name))
      .map((f) => problem(`${f.signature} is not the queue's`, psqlCommand(`DROP FUNCTION ${f.signature}`))),
    ...triggers.map(({ name, relation }) =>
      problem(
        `The trigger ${name} of ${relation} is off`,
        psqlCommand(`ALTER TABLE ${relation} ENABLE TRIGGER ${name}`),
      ),
    ),
  ]
  return findings.length > 0
    ? findings
    : ok(`${count(found.length, 'function')} are as this program ships them`)
}

/** One line for all that an install mends. */
function drift(shipped: Routine[], found: Routine[]): Finding[] {
  const isThere = (s: Routine) => found.some((f) => f.schema === s.schema && f.name === s.name)
  const [first, ...others] = shipped
    .filter((s) => !found.some((f) => isSame(s, f)))
    .map((s) => `${s.schema}.${s.name} is ${isThere(s) ? 'not as this program ships it' : 'missing'}`)
    .sort()
  if (first === undefined) return []
  const more = others.length > 0 ? `, and ${count(others.length, 'other')} like that` : ''
  return [problem(`${first}${more}`, 'pgbq install')]
}

const isSame = (shipped: Routine, found: Routine): boolean =>
  found.schema === shipped.schema &&
  found.name === shipped.name &&
  found.body === shipped.body &&
  found.is_definer === shipped.is_definer &&
  shipped.settings.every((name) => found.settings.some((setting) => setting.startsWith(`${name}=`)))
