import { resolve } from 'node:path'
import type { ConnectionTarget } from '../database/target.js'
import { usageError } from '../errors.js'

/** How this program is called from nowhere: by cron or systemd, with no environment and in no folder of ours. */
export interface OwnCall {
  /** to be set for the call; never a password */
  variables: [name: string, value: string][]
  /** absolute program and arguments */
  words: string[]
  /** the database, or "embedded", for people and for names of units */
  name: string
  /** the line of .pgpass that the call needs, with PASSWORD in place of the password it was given here */
  passwordLine: string | undefined
}

export interface OwnCallOptions {
  /** Node, the program's entry, the command and its own flags */
  words: string[]
  /** where that leads to here; undefined for the embedded server */
  target: ConnectionTarget | undefined
  /** the URL that a flag or a variable gives */
  url: string | undefined
  configPath: string | undefined
  env?: NodeJS.ProcessEnv
}

const KEPT = [
  ...['PGHOST', 'PGPORT', 'PGDATABASE', 'PGUSER', 'PGSERVICE', 'PGOPTIONS', 'PGSSLMODE', 'PGSSLNEGOTIATION'],
  ...['PGTARGETSESSIONATTRS', 'PGCONNECT_TIMEOUT', 'PGHOSTADDR', 'PGREQUIREAUTH', 'PGREQUIREPEER'],
  ...[
    'PGSSLMINPROTOCOLVERSION',
    'PGSSLMAXPROTOCOLVERSION',
    'PGSSLCERTMODE',
    'PGCHANNELBINDING',
    'PGGSSENCMODE',
  ],
]
const KEPT_PATHS = [
  ...['PGPASSFILE', 'PGSERVICEFILE', 'PGSYSCONFDIR', 'PGSSLROOTCERT', 'PGSSLCERT', 'PGSSLKEY', 'PGSSLCRL'],
  ...['PGBQ_EMBEDDED_HOME', 'XDG_DATA_HOME', 'XDG_STATE_HOME'],
]

const KEYWORD_PASSWORD = /(?:^|\s)(?:ssl)?password\s*=\s*('(?:[^'\\]|\\.)*'|(?:[^\s\\]|\\.)*)/gi

/** Errors: UNQUOTABLE for a word with a line break, which neither cron nor systemd can take. */
export function ownCall({ words, target, url, configPath, env = process.env }: OwnCallOptions): OwnCall {
  const call: OwnCall = {
    variables: variables(url, env),
    words: [
      ...words,
      ...(url === 'embedded' ? ['--embedded'] : []),
      ...(configPath === undefined ? [] : ['--config', resolve(configPath)]),
    ],
    name: target === undefined ? 'embedded' : String(target.config.database ?? target.config.user),
    passwordLine: target && passwordLine(target, url, env),
  }
  for (const text of [...call.variables.flat(), ...call.words]) {
    if (/[\n\r\0]/.test(text))
      throw usageError('UNQUOTABLE', `Expected no line break in ${JSON.stringify(text)}`)
  }
  return call
}

function variables(url: string | undefined, env: NodeJS.ProcessEnv): [string, string][] {
  const kept = KEPT.map((name) => [name, env[name] ?? ''] as [string, string])
  const paths = Object.entries(absolutePaths(env))
  const isUrl = url !== undefined && url !== 'embedded'
  return [
    ...(isUrl ? [['PGBQ_DATABASE_URL', withoutPassword(url)] as [string, string]] : []),
    ...[...kept, ...paths].filter(([, value]) => value !== ''),
  ]
}

/** The variables that name files, for a process that runs in another folder. */
export function absolutePaths(env: NodeJS.ProcessEnv): Record<string, string> {
  const given = KEPT_PATHS.filter((name) => env[name])
  return Object.fromEntries(given.map((name) => [name, resolve(env[name]!)]))
}

/** A connection URL that anybody may see. */
export function withoutPassword(url: string): string {
  if (!/^\w+:\/\//.test(url)) return url.replace(KEYWORD_PASSWORD, '').trim()
  return url
    .replace(/^(\w+:\/\/[^/?:]*?):[^/?]*@/, '$1@')
    .replace(/([?&])(?:ssl)?password=[^&]*(&?)/gi, (_, first, next) => (next ? first : ''))
}

/** https://www.postgresql.org/docs/current/libpq-pgpass.html; none where a file or a service holds the password. */
function passwordLine(
  { config, hosts }: ConnectionTarget,
  url: string | undefined,
  env: NodeJS.ProcessEnv,
): string | undefined {
  const isGiven = (url !== undefined && withoutPassword(url) !== url) || Boolean(env.PGPASSWORD)
  if (!isGiven) return undefined
  const servers = hosts ? ['*', '*'] : [config.host, config.port]
  const fields = [...servers, config.database, config.user]
  return [...fields.map((field) => String(field).replaceAll(/[\\:]/g, '\\$&')), 'PASSWORD'].join(':')
}
