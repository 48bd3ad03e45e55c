import { existsSync, readFileSync, statSync } from 'node:fs'
import { createRequire } from 'node:module'
import { isIP } from 'node:net'
import { homedir } from 'node:os'
import { join } from 'node:path'
import type { ConnectionOptions, SecureVersion } from 'node:tls'
import { QueueError, usageError } from '../errors.js'

const MODES = ['disable', 'allow', 'prefer', 'require', 'verify-ca', 'verify-full', 'no-verify'] as const
type Mode = (typeof MODES)[number]
const VERSIONS = ['TLSv1', 'TLSv1.1', 'TLSv1.2', 'TLSv1.3']

/** libpq's parameters of TLS, with its files where they are: https://www.postgresql.org/docs/current/libpq-ssl.html */
export interface TlsParameters {
  mode: Mode
  /** a file, or undefined for the authorities that Node knows */
  rootCert?: string | undefined
  cert?: string | undefined
  key?: string | undefined
  keyPassword?: string | undefined
  crl?: string | undefined
  minVersion?: SecureVersion | undefined
  maxVersion?: SecureVersion | undefined
  isDirect?: boolean
}

/** Errors: INVALID_VALUE, CERTIFICATE_MISSING. */
export function readTls(given: Record<string, string>, env: NodeJS.ProcessEnv): TlsParameters {
  const folder = join(env.HOME || homedir(), '.postgresql')
  const isSystem = given.sslrootcert === 'system'
  const mode = oneOf('sslmode', given.sslmode ?? (isSystem ? 'verify-full' : 'prefer'), MODES)
  if (mode === 'disable') return { mode }
  const usesCert = given.sslcertmode !== 'disable'
  const isDirect = given.sslnegotiation === 'direct'
  if (isDirect && ['allow', 'prefer'].includes(mode))
    throw usageError('INVALID_VALUE', 'sslnegotiation=direct needs sslmode=require or a stricter one')
  if (isSystem && mode !== 'verify-full')
    throw usageError('INVALID_VALUE', 'sslrootcert=system needs sslmode=verify-full')
  const tls = {
    mode,
    isDirect,
    rootCert: isSystem ? undefined : fileOf(given.sslrootcert, folder, 'root.crt'),
    cert: usesCert ? fileOf(given.sslcert, folder, 'postgresql.crt') : undefined,
    keyPassword: given.sslpassword,
    crl: fileOf(given.sslcrl, folder, 'root.crl'),
    minVersion: version('ssl_min_protocol_version', given),
    maxVersion: version('ssl_max_protocol_version', given),
  }
  if (mode === 'verify-ca' && tls.rootCert === undefined)
    throw certificateMissing('sslmode=verify-ca needs the certificate of an authority', 'sslrootcert=FILE')
  return { ...tls, key: tls.cert && keyOf(given.sslkey ?? join(folder, 'postgresql.key')) }
}

/** How to secure a connection to this host; the files are read anew, for certificates are renewed. */
export function tlsOptions(tls: TlsParameters, host: string): ConnectionOptions {
  const ca = tls.rootCert && readFileSync(tls.rootCert)
  return {
    ...(ca ? { ca } : {}),
    ...(tls.cert ? { cert: readFileSync(tls.cert), key: readFileSync(tls.key!) } : {}),
    ...(tls.keyPassword ? { passphrase: tls.keyPassword } : {}),
    ...(tls.crl && ca ? { crl: readFileSync(tls.crl) } : {}),
    minVersion: tls.minVersion ?? 'TLSv1.2',
    ...(tls.maxVersion ? { maxVersion: tls.maxVersion } : {}),
    ...(isIP(host) === 0 ? { servername: host } : {}),
    rejectUnauthorized: tls.mode.startsWith('verify-') || (tls.mode === 'require' && ca !== undefined),
    checkServerIdentity: (_, cert) =>
      tls.mode === 'verify-full' ? loadTls().checkServerIdentity(host, cert) : undefined,
  }
}

/** It takes 5 ms to load, and most sessions go without. */
const loadTls = (): typeof import('node:tls') => createRequire(import.meta.url)('node:tls')

function fileOf(given: string | undefined, folder: string, name: string): string | undefined {
  const file = given ?? join(folder, name)
  if (existsSync(file)) return file
  if (given === undefined) return undefined
  throw certificateMissing(`The file "${given}" does not exist`, 'correct the path')
}

/** libpq's rule: nobody but its owner, or root's group, may read it. */
function keyOf(file: string): string {
  if (!existsSync(file))
    throw certificateMissing(`The key "${file}" of the client's certificate does not exist`, 'sslkey=FILE')
  const { mode, uid } = statSync(file)
  if (process.platform !== 'win32' && (mode & (uid === 0 ? 0o037 : 0o077)) !== 0)
    throw new QueueError('KEY_OPEN', `Others may read the key "${file}", so it is not used`, {
      hint: `chmod 600 ${file}`,
    })
  return file
}

function certificateMissing(message: string, hint: string): QueueError {
  return new QueueError('CERTIFICATE_MISSING', message, { hint })
}

function version(keyword: string, given: Record<string, string>): SecureVersion | undefined {
  const value = given[keyword]
  return value === undefined ? undefined : (oneOf(keyword, value, VERSIONS) as SecureVersion)
}

export function oneOf<T extends string>(keyword: string, value: string, known: readonly T[]): T {
  if (known.includes(value as T)) return value as T
  throw usageError('INVALID_VALUE', `Expected ${keyword} to be one of ${known.join(', ')}, got "${value}"`)
}
