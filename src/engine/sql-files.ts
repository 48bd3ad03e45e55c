import { readdirSync, readFileSync } from 'node:fs'
import { QueueError, usageError } from './errors.js'

const SQL_FOLDER = new URL('../../sql/', import.meta.url)

export interface Migration {
  version: number
  name: string
  text: string
}

const MIGRATIONS = new URL('migrations/', SQL_FOLDER)

const migrationFiles = (): string[] =>
  readdirSync(MIGRATIONS)
    .filter((file) => /^\d{4}_.*\.sql$/.test(file))
    .sort()

/** The number that a migration's file name begins with. */
const versionOf = (file: string): number => Number(file.slice(0, 4))

/** The version of the schema that this program brings. */
export const schemaVersion = (): number => versionOf(migrationFiles().at(-1)!)

/** sql/migrations in order. */
export function readMigrations(): Migration[] {
  return migrationFiles().map((file) => ({
    version: versionOf(file),
    name: file.slice(0, -'.sql'.length),
    text: readFileSync(new URL(file, MIGRATIONS), 'utf8'),
  }))
}

/** sql/functions as one text, in the order of the files' names. */
export function readFunctions(): string {
  const folder = new URL('functions/', SQL_FOLDER)
  return readdirSync(folder)
    .filter((file) => file.endsWith('.sql'))
    .sort()
    .map((file) => readFileSync(new URL(file, folder), 'utf8'))
    .join('\n')
}

/** One file of sql/. */
export const readSql = (name: string): string => readFileSync(new URL(name, SQL_FOLDER), 'utf8')

/** Puts the chosen schema where the files say :"schema". Errors: INVALID_SCHEMA. */
export function inSchema(text: string, schema: string): string {
  if (!/^[^"'\\%$\0]{1,63}$/.test(schema) || schema.startsWith('pg_')) {
    throw usageError(
      'INVALID_SCHEMA',
      `Expected a schema name without quotes or $ and not beginning with pg_, got "${schema}"`,
    )
  }
  return text.replaceAll(':"schema"', `"${schema}"`)
}

let queries: Map<string, string> | undefined

/** The query of that name in sql/queries.sql, sql/doctor.sql or sql/from-extension.sql. */
export function namedQuery(name: string): string {
  queries ??= new Map(
    ['queries.sql', 'doctor.sql', 'from-extension.sql']
      .map((file) => readFileSync(new URL(file, SQL_FOLDER), 'utf8'))
      .join('\n')
      .split(/^-- name: /m)
      .slice(1)
      .map((part) => [part.slice(0, part.indexOf('\n')).trim(), part.slice(part.indexOf('\n') + 1)] as const),
  )
  const text = queries.get(name)
  if (text === undefined) throw new QueueError('INTERNAL', `No query is named "${name}"`)
  return text
}
