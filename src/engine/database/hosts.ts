import { QueueError } from '../errors.js'
import type { Database } from './database.js'
import { type ConnectionTarget, describeHost, describeTarget, type Host, type SessionKind } from './target.js'

/** Opens a session on the one server of a target, by TLS or not. */
export type Open = (target: ConnectionTarget, isEncrypted: boolean) => Promise<Database>

/** https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNECT-TARGET-SESSION-ATTRS */
const SUITS: Record<SessionKind, (server: { standby: boolean; readOnly: boolean }) => boolean> = {
  any: () => true,
  'read-write': ({ standby, readOnly }) => !standby && !readOnly,
  'read-only': ({ standby, readOnly }) => standby || readOnly,
  primary: ({ standby }) => !standby,
  standby: ({ standby }) => standby,
  'prefer-standby': ({ standby }) => standby,
}

/**
 * A session on the first server of a list that answers and will do; its target is that server alone. As with libpq, a
 * server that refuses the login ends the search. Errors: those of `open`; SERVER_UNREACHABLE with a reason for each.
 */
export async function throughHosts(target: ConnectionTarget, open: Open): Promise<Database> {
  const { sessionKind = 'any' } = target
  if (sessionKind === 'any' && target.hosts === undefined) return secured(target, open)
  const found = await search(target, sessionKind, open)
  if (!Array.isArray(found)) return found
  if (sessionKind === 'prefer-standby') {
    const second = await search(target, 'any', open)
    if (!Array.isArray(second)) return second
  }
  const as = sessionKind === 'any' ? '' : ` as ${sessionKind}`
  throw new QueueError(
    'SERVER_UNREACHABLE',
    `No server answers for ${describeTarget(target)}${as}: ${found.join('; ')}`,
    { hint: 'pgbq status, in a moment, or name other servers in --database-url' },
  )
}

/** The session, or why there is none. */
async function search(target: ConnectionTarget, kind: SessionKind, open: Open): Promise<Database | string[]> {
  const reasons: string[] = []
  for (const one of eachHost(target)) {
    try {
      const database = await secured(one, open)
      if (kind === 'any' || SUITS[kind](await look(database))) return database
      await database.close()
      reasons.push(`${describeHost(one)} is not ${kind}`)
    } catch (error) {
      const { code, message, cause } = error as QueueError
      if (code !== 'SERVER_UNREACHABLE') throw error
      reasons.push(`${describeHost(one)}: ${(cause as Error | undefined)?.message || message}`)
    }
  }
  return reasons
}

function eachHost({ hosts, sessionKind: _, ...rest }: ConnectionTarget): ConnectionTarget[] {
  const { host = 'localhost', port = 5432 } = rest.config
  return (hosts ?? [{ host, port }]).map((one: Host) => ({
    ...rest,
    config: { ...rest.config, host: one.host, port: one.port },
    ...(one.address === undefined ? {} : { hosts: [one] }),
  }))
}

function look(database: Database): Promise<{ standby: boolean; readOnly: boolean }> {
  return database.one(
    `select pg_catalog.pg_is_in_recovery() as standby,
       pg_catalog.current_setting('transaction_read_only') = 'on' as "readOnly"`,
  )
}

/**
 * With sslmode=prefer, TLS where the server has it; with allow, where it insists. The session's target remembers which
 * it was, so that the next one to this server begins with it.
 */
async function secured(target: ConnectionTarget, open: Open): Promise<Database> {
  const { tls = { mode: 'prefer' } } = target
  const isEncrypted = startsEncrypted(target)
  try {
    return await open(target, isEncrypted)
  } catch (error) {
    const hasOther = (tls.mode === 'prefer' || tls.mode === 'allow') && !isLocal(target)
    if (!hasOther || !isOfEncryption(error as QueueError, isEncrypted)) throw error
    const other: ConnectionTarget = { ...target, tls: { ...tls, mode: isEncrypted ? 'allow' : 'prefer' } }
    return open(other, !isEncrypted).catch((second) => {
      // refused with and without: the first says why
      throw isUnwelcome(error as QueueError) && isUnwelcome(second) ? error : second
    })
  }
}

/** Whether a connection to the one server of a target is to be tried with TLS first. */
export function startsEncrypted(target: ConnectionTarget): boolean {
  return !isLocal(target) && !['disable', 'allow'].includes(target.tls?.mode ?? 'prefer')
}

/** PostgreSQL speaks no TLS on a unix socket. */
const isLocal = ({ config }: ConnectionTarget): boolean => config.host?.startsWith('/') ?? false

/** 28000: pg_hba.conf has no entry for this role with, or without, TLS. */
function isUnwelcome({ code, cause }: QueueError): boolean {
  return code === 'LOGIN_REFUSED' && (cause as { code?: string } | undefined)?.code === '28000'
}

function isOfEncryption(error: QueueError, isEncrypted: boolean): boolean {
  const { code } = error
  return isUnwelcome(error) || (isEncrypted && (code === 'TLS_UNAVAILABLE' || code === 'CERTIFICATE_REFUSED'))
}
