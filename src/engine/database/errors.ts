import { QueueError } from '../errors.js'

/** SQLSTATEs that the functions of the queue raise, with our names for them. */
const OWN_CODES: Record<string, { code: string; usage?: boolean }> = {
  PQ001: { code: 'CLAIM_LOST' },
  PQ002: { code: 'END_REQUESTED' },
  PQ003: { code: 'WORKER_UNKNOWN' },
  PQ010: { code: 'BLANK_SQL', usage: true },
  PQ011: { code: 'INVALID_TOPIC', usage: true },
  PQ012: { code: 'INVALID_OPTION', usage: true },
  PQ013: { code: 'RETRY_REFUSED' },
  PQ020: { code: 'INVALID_VALUE', usage: true },
}

const UNREACHABLE = new Set([
  'ECONNREFUSED',
  'ENOENT',
  'ENOTFOUND',
  'EHOSTUNREACH',
  'ETIMEDOUT',
  'ECONNRESET',
  'EAI_AGAIN',
  'EACCES',
  'EPIPE',
])

interface ServerError extends Error {
  code?: string
  hint?: string
  schema?: string
  routine?: string
}

/** Whether a server has said so, maybe in other words; else nobody answered. */
export function isServersWord(error: Error): boolean {
  return [error, error.cause].some((e) => (e as { severity?: string } | undefined)?.severity !== undefined)
}

/** Turns what `pg` throws into a QueueError where we know the way out; other errors come back as they are. */
export function translateError(error: unknown, target: string): Error {
  if (error instanceof QueueError) return error
  const { code = '', message, hint } = error as ServerError
  const own = OWN_CODES[code]
  if (own) return new QueueError(own.code, message, { hint, usage: own.usage ?? false, cause: error })
  return (
    connectionError(error as ServerError, target) ??
    rightsError(error as ServerError, target) ??
    (error as Error)
  )
}

function connectionError(error: ServerError, target: string): QueueError | undefined {
  const { code = '', message } = error
  const options = { cause: error }
  if (UNREACHABLE.has(code) || /timeout expired|Connection terminated|not queryable/.test(message)) {
    return new QueueError('SERVER_UNREACHABLE', `No server answers for ${target}: ${reason(error)}`, {
      ...options,
      hint: 'pgbq status --database-url postgresql://user@host/database, or --embedded for the embedded PostgreSQL',
    })
  }
  const refusal = poolerRefusal(error, target) ?? tlsRefusal(error, target)
  if (refusal) return refusal
  const lacksPassword = /password must be a string|no password supplied/i.test(message)
  if (['28P01', '28000'].includes(code) || lacksPassword) {
    const why = lacksPassword ? 'it wants a password, and none was given' : message
    return new QueueError('LOGIN_REFUSED', `The server refused the login to ${target}: ${why}`, {
      ...options,
      hint: 'check user and password in --database-url, DATABASE_URL, PGPASSWORD or .pgpass',
    })
  }
  if (code === '3D000') {
    return new QueueError('DATABASE_MISSING', `There is no ${target}`, {
      ...options,
      hint: 'pgbq status --database-url postgresql://user@host/database, to name another one',
    })
  }
  // class 08 is what poolers send when they have lost the server
  if (['53300', '57P03', '57P01', '57P02'].includes(code) || code.startsWith('08')) {
    return new QueueError('SERVER_UNREACHABLE', `The server of ${target} is not available: ${message}`, {
      ...options,
      hint: 'pgbq status, in a moment',
    })
  }
  return undefined
}

/** Of Node's codes of TLS: those of certificates, and those of OpenSSL. */
const OF_CERTIFICATES =
  /^(UNABLE_TO_|CERT_|CRL_|SELF_SIGNED|DEPTH_ZERO|HOSTNAME_|INVALID_CA|ERR_TLS_|ERR_SSL_|ERR_OSSL)/

function tlsRefusal(cause: ServerError, target: string): QueueError | undefined {
  const { code = '', message } = cause
  if (/does not support SSL|establishing an SSL connection/.test(message)) {
    return new QueueError(
      'TLS_UNAVAILABLE',
      `The server of ${target} takes no TLS, and sslmode asks for it`,
      {
        cause,
        hint: 'sslmode=prefer or sslmode=disable in the URL or PGSSLMODE, where the network is trusted',
      },
    )
  }
  if (!OF_CERTIFICATES.test(code)) return undefined
  return new QueueError('CERTIFICATE_REFUSED', `No TLS with ${target}: ${message}`, {
    cause,
    hint: "name the certificate of the server's authority in sslrootcert= or PGSSLROOTCERT",
  })
}

/** What a pooler does not do, in the words of pgbouncer. */
function poolerRefusal(cause: ServerError, target: string): QueueError | undefined {
  const { code, message } = cause
  if (code !== '08P01') return undefined
  if (/startup parameter/.test(message)) {
    return new QueueError(
      'OPTIONS_REFUSED',
      `A connection pooler in front of ${target} refused the login: ${message}`,
      {
        cause,
        hint: 'leave out PGOPTIONS and options= in the URL, or name the server itself in --database-url',
      },
    )
  }
  if (/statement pooling mode/.test(message)) {
    return new QueueError(
      'STATEMENT_POOLER',
      `A connection pooler in statement mode stands in front of ${target}, and pgbq needs transactions: ${message}`,
      { cause, hint: 'name the server itself, or a pooler in transaction mode, in --database-url' },
    )
  }
  return undefined
}

function rightsError(error: ServerError, target: string): QueueError | undefined {
  const { code = '', message, routine } = error
  const isOurs = /background_queue|pg_background|\b(lanes|workers|supervisors|settings)\b/.test(message)
  // by its OID, a function that an install has made anew is not found
  const isGone = isOurs || routine === 'fetch_fp_info'
  if (['42P01', '42883', '3F000'].includes(code) && isGone) return notInstalled(target)
  if (code === '42501' && (isOurs || /^permission denied for function /.test(message))) {
    return new QueueError('NOT_ALLOWED', `The role has no right to do that in ${target}: ${message}`, {
      cause: error,
      hint: "log in as the queue's owner, or have it run: pgbq install --grant-enqueue ROLE",
    })
  }
  if (code === '25006') {
    return new QueueError('READ_ONLY', `${target} is read-only: ${message}`, {
      cause: error,
      hint: 'connect to the primary server',
    })
  }
  return undefined
}

export function notInstalled(target: string): QueueError {
  return new QueueError('NOT_INSTALLED', `The queue is not installed in ${target}`, { hint: 'pgbq install' })
}

function reason(error: ServerError): string {
  const nested = (error as unknown as AggregateError).errors?.[0] as Error | undefined
  return error.message || nested?.message || error.code || 'unknown'
}
