import { existsSync } from 'node:fs'
import { userInfo } from 'node:os'
import type { ClientConfig } from 'pg'
import { parse } from 'pg-connection-string'
import { usageError } from '../errors.js'
import { readService } from './service.js'

const URL_EXAMPLE = 'pgbq status --database-url postgresql://user@host/database'

/** Where to connect: what `pg` takes, and the URL it came from where there is one (it may hold a password). */
export interface ConnectionTarget {
  config: ClientConfig
  url?: string
  /** logs in by that role's own credentials, not by those that were given for another */
  isOtherRole?: boolean
}

export interface TargetSources {
  flag?: string | undefined
  file?: string | undefined
  env?: NodeJS.ProcessEnv
}

/** The first of --database-url, PGBQ_DATABASE_URL, DATABASE_URL, the file; undefined if none names a server. */
export function chosenUrl({ flag, file, env = process.env }: TargetSources): string | undefined {
  return [flag, env.PGBQ_DATABASE_URL, env.DATABASE_URL, file].find((url) => url !== undefined && url !== '')
}

/** Reads a connection URL, or libpq's PG* variables and defaults where there is none. Errors: INVALID_URL. */
export function resolveTarget(
  url: string | undefined,
  env: NodeJS.ProcessEnv = process.env,
): ConnectionTarget {
  if (url === undefined) return { config: defaultConfig(env) }
  if (!/^postgres(ql)?:\/\//.test(url)) {
    throw usageError('INVALID_URL', 'Expected the database URL to begin with postgresql://', URL_EXAMPLE)
  }
  return { config: parseUrl(url, env), url }
}

function parseUrl(url: string, env: NodeJS.ProcessEnv): ClientConfig {
  try {
    const { host, port, ...rest } = parse(url)
    const config = Object.fromEntries(
      Object.entries(rest).filter(([, value]) => value != null && value !== ''),
    )
    return {
      ...defaultConfig(env),
      ...config,
      ...(host ? { host } : {}),
      ...(port ? { port: Number(port) } : {}),
    }
  } catch (cause) {
    throw usageError(
      'INVALID_URL',
      `The database URL cannot be read: ${(cause as Error).message.replaceAll(url, '…')}`,
      URL_EXAMPLE,
    )
  }
}

/** What a service says, then libpq's variables, then its defaults: the order of libpq. */
function defaultConfig(env: NodeJS.ProcessEnv): ClientConfig {
  const service = env.PGSERVICE ? readService(env.PGSERVICE, env) : {}
  const { host, port: servicePort, user: serviceUser, dbname, password } = service
  const port = parsePort(servicePort || env.PGPORT || '5432')
  const user = serviceUser || env.PGUSER || userInfo().username
  return {
    host: host || env.PGHOST || socketFolder(port) || 'localhost',
    port,
    user,
    database: dbname || env.PGDATABASE || user,
    ...(password ? { password } : {}),
  }
}

function parsePort(text: string): number {
  const port = Number(text)
  if (/^\d+$/.test(text) && port >= 1 && port <= 65535) return port
  throw usageError('INVALID_VALUE', `Expected PGPORT to be a port from 1 to 65535, got "${text}"`)
}

/** The folder of the local server's socket, where libpq looks for it. */
function socketFolder(port: number): string | undefined {
  return ['/var/run/postgresql', '/tmp'].find((folder) => existsSync(`${folder}/.s.PGSQL.${port}`))
}

/** `database "app" at host:5432`, never a password. */
export function describeTarget({ config }: ConnectionTarget): string {
  const host = config.host?.startsWith('/')
    ? config.host
    : `${config.host ?? 'localhost'}:${config.port ?? 5432}`
  return `database "${config.database ?? config.user}" at ${host}`
}

/** The same server and database as another role, by that role's own credentials (.pgpass, trust, certificates). */
export function asRole(target: ConnectionTarget, role: string): ConnectionTarget {
  const { password: _, user: __, ...config } = target.config
  return { config: { ...config, user: role }, isOtherRole: true }
}
