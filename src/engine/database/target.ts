import { existsSync } from 'node:fs'
import { userInfo } from 'node:os'
import type { ClientConfig } from 'pg'
import { usageError } from '../errors.js'
import { isPort } from './conninfo.js'
import { type Parameters, readParameters } from './parameters.js'
import { oneOf, readTls, type TlsParameters } from './tls.js'

/** Where libpq looks for the socket of a local server. */
export const SOCKET_FOLDERS = ['/var/run/postgresql', '/tmp']
const SESSION_KINDS = ['any', 'read-write', 'read-only', 'primary', 'standby', 'prefer-standby'] as const
export type SessionKind = (typeof SESSION_KINDS)[number]

/** One server of several. */
export interface Host {
  host: string
  port: number
  /** where to connect, instead of asking for the host's */
  address?: string
}

/** Where to connect: plain data, so that it can be handed to a worker's process; it may hold a password. */
export interface ConnectionTarget {
  /** the first server, the login and the options */
  config: ClientConfig
  /** the connection string it came from, where there is one */
  url?: string
  /** logs in by that role's own credentials, not by those that were given for another */
  isOtherRole?: boolean
  /** all servers, where the first is not all there is to know */
  hosts?: Host[]
  /** which of them will do */
  sessionKind?: SessionKind
  tls?: TlsParameters
  /** the password file, where it is not ~/.pgpass */
  passfile?: string
  connectTimeoutMs?: number
}

export interface TargetSources {
  flag?: string | undefined
  file?: string | undefined
  env?: NodeJS.ProcessEnv
  /** of what needs the server itself, not a pooler: sources that go before the others of their kind */
  direct?: { flag?: string | undefined; file?: string | undefined } | undefined
}

/**
 * The first of --database-url, PGBQ_DATABASE_URL, DATABASE_URL, the file; undefined if none names a server. What needs
 * the server itself finds --direct-url, PGBQ_DIRECT_URL and the file's direct_url in front of each kind of them.
 */
export function chosenUrl({ flag, file, env = process.env, direct }: TargetSources): string | undefined {
  const ofVariables = [direct && env.PGBQ_DIRECT_URL, env.PGBQ_DATABASE_URL, env.DATABASE_URL]
  return [direct?.flag, flag, ...ofVariables, direct?.file, file].find(
    (url) => url !== undefined && url !== '',
  )
}

/**
 * Reads a connection URL or a string of keywords; what it leaves out, as libpq finds it. Errors: INVALID_URL,
 * INVALID_VALUE, UNKNOWN_SERVICE, NOT_SUPPORTED, CERTIFICATE_MISSING, KEY_OPEN.
 */
export function resolveTarget(
  url: string | undefined,
  env: NodeJS.ProcessEnv = process.env,
): ConnectionTarget {
  const given = readParameters(url, env)
  const hosts = readHosts(given, given.port !== undefined && given.port === env.PGPORT ? 'PGPORT' : 'port')
  const [{ host, port, address }] = hosts as [Host]
  const user = given.user ?? userInfo().username
  const { password, options, passfile } = given
  const isAny = oneOf('target_session_attrs', given.target_session_attrs ?? 'any', SESSION_KINDS) === 'any'
  const timeoutSec = Number(given.connect_timeout ?? 0)
  return {
    config: {
      host,
      port,
      user,
      database: given.dbname ?? user,
      ...(password === undefined ? {} : { password }),
      ...(options === undefined ? {} : { options }),
    },
    ...(url === undefined ? {} : { url }),
    ...(hosts.length > 1 || address !== undefined ? { hosts } : {}),
    ...(isAny ? {} : { sessionKind: given.target_session_attrs as SessionKind }),
    tls: readTls(given, env),
    ...(passfile === undefined ? {} : { passfile }),
    ...(timeoutSec > 0 ? { connectTimeoutMs: timeoutSec * 1000 } : {}),
  }
}

/** As many as there are hosts or addresses; one port goes for all of them. */
function readHosts({ host, hostaddr, port = '' }: Parameters, portName: string): Host[] {
  const addresses = hostaddr?.split(',') ?? []
  const hosts = host?.split(',') ?? addresses
  const ports = port.split(',').map((text) => parsePort(text, portName))
  const count = Math.max(hosts.length, 1)
  if ((addresses.length > 0 && addresses.length !== count) || (ports.length > 1 && ports.length !== count))
    throw usageError('INVALID_VALUE', `Expected as many ports and addresses as hosts, ${count}`)
  return Array.from({ length: count }, (_, n) => {
    const one = ports[n] ?? ports[0]!
    return {
      host: hosts[n] || addresses[n] || socketFolder(one) || 'localhost',
      port: one,
      ...(addresses[n] ? { address: addresses[n] } : {}),
    }
  })
}

function parsePort(text: string, name: string): number {
  if (text === '') return 5432
  if (isPort(text)) return Number(text)
  throw usageError('INVALID_VALUE', `Expected ${name} to be a port from 1 to 65535, got "${text}"`)
}

function socketFolder(port: number): string | undefined {
  return SOCKET_FOLDERS.find((folder) => existsSync(`${folder}/.s.PGSQL.${port}`))
}

/** `database "app" at host:5432`, never a password. */
export function describeTarget({ config, hosts }: ConnectionTarget): string {
  const names = (hosts ?? [config]).map((one) => describeHost({ config: one }))
  return `database "${config.database ?? config.user}" at ${names.join(', ')}`
}

/** The first server alone: `host:5432`, or the folder of its socket. */
export function describeHost({ config: { host = 'localhost', port = 5432 } }: ConnectionTarget): string {
  return host.startsWith('/') ? host : `${host}:${port}`
}

/** The same server and database as another role, by that role's own credentials (.pgpass, trust, certificates). */
export function asRole(target: ConnectionTarget, role: string): ConnectionTarget {
  const { url: _, config, ...rest } = target
  const { password: __, ...others } = config
  return { ...rest, config: { ...others, user: role }, isOtherRole: true }
}
