import { usageError } from '../errors.js'
import { parseKeywords, parseUrl } from './conninfo.js'
import { readService } from './service.js'

/** Connection parameters by libpq's keywords: https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS */
export type Parameters = Record<string, string>

export const URL_EXAMPLE = 'pgbq status --database-url postgresql://user@host/database'

/** What counts here, and the variable that gives it where nothing else does. */
const VARIABLES: Record<string, string> = {
  host: 'PGHOST',
  hostaddr: 'PGHOSTADDR',
  port: 'PGPORT',
  dbname: 'PGDATABASE',
  user: 'PGUSER',
  password: 'PGPASSWORD',
  passfile: 'PGPASSFILE',
  options: 'PGOPTIONS',
  connect_timeout: 'PGCONNECT_TIMEOUT',
  target_session_attrs: 'PGTARGETSESSIONATTRS',
  service: 'PGSERVICE',
  servicefile: 'PGSERVICEFILE',
  sslmode: 'PGSSLMODE',
  sslnegotiation: 'PGSSLNEGOTIATION',
  sslrootcert: 'PGSSLROOTCERT',
  sslcert: 'PGSSLCERT',
  sslkey: 'PGSSLKEY',
  sslcrl: 'PGSSLCRL',
  sslcertmode: 'PGSSLCERTMODE',
  ssl_min_protocol_version: 'PGSSLMINPROTOCOLVERSION',
  ssl_max_protocol_version: 'PGSSLMAXPROTOCOLVERSION',
  channel_binding: 'PGCHANNELBINDING',
  gssencmode: 'PGGSSENCMODE',
  require_auth: 'PGREQUIREAUTH',
  requirepeer: 'PGREQUIREPEER',
  sslcrldir: 'PGSSLCRLDIR',
}

/** Known to libpq, and without effect here: our sessions have names, encodings and keepalives of their own. */
const WITHOUT_EFFECT = new Set([
  ...['application_name', 'fallback_application_name', 'client_encoding', 'load_balance_hosts'],
  ...['keepalives', 'keepalives_idle', 'keepalives_interval', 'keepalives_count', 'tcp_user_timeout'],
  ...['sslcompression', 'sslsni', 'krbsrvname', 'gsslib', 'gssdelegation'],
])

/** Protections that we could not hold: better no connection than one without them. */
const NOT_HELD: Record<string, (value: string) => boolean> = {
  channel_binding: (value) => value === 'require',
  gssencmode: (value) => value === 'require',
  sslcertmode: (value) => value === 'require',
  require_auth: () => true,
  requirepeer: () => true,
  sslcrldir: () => true,
}

/**
 * What a connection string says, then its service or PGSERVICE, then libpq's variables: the order of libpq.
 * Errors: INVALID_URL, UNKNOWN_SERVICE, NOT_SUPPORTED.
 */
export function readParameters(text: string | undefined, env: NodeJS.ProcessEnv): Parameters {
  const given = text === undefined ? {} : parse(text)
  const named = withoutEmpty(
    Object.fromEntries(Object.entries(VARIABLES).map(([keyword, name]) => [keyword, env[name] ?? ''])),
  )
  const service = given.service ?? named.service
  const ofService = service ? readService(service, env, given.servicefile ?? named.servicefile) : {}
  refuseUnknown(ofService, `The service "${service}"`)
  const all = { ...named, ...withoutEmpty(ofService), ...given }
  for (const [keyword, isRefused] of Object.entries(NOT_HELD)) {
    const value = all[keyword]
    if (value !== undefined && isRefused(value))
      throw usageError(
        'NOT_SUPPORTED',
        `The connection parameter ${keyword}=${value} asks for what pgbq cannot hold`,
        `leave it out of the connection string, the service file and ${VARIABLES[keyword]}`,
      )
  }
  return all
}

/** A URL, or libpq's `keyword = value` string. Parameters of a URL that libpq does not know are other programs'. */
function parse(text: string): Parameters {
  if (/^postgres(ql)?:\/\//.test(text)) return withoutEmpty(parseUrl(text))
  if (/^\s*\w+:\/\//.test(text) || !text.includes('=')) {
    throw usageError('INVALID_URL', 'Expected the database URL to begin with postgresql://', URL_EXAMPLE)
  }
  const parameters = parseKeywords(text)
  refuseUnknown(parameters, 'The connection string')
  return withoutEmpty(parameters)
}

/** What follows a password may be the rest of one with a blank in it: that is not repeated. */
function refuseUnknown(parameters: Parameters, where: string): void {
  const keywords = Object.keys(parameters)
  const at = keywords.findIndex((k) => !(k in VARIABLES) && !WITHOUT_EFFECT.has(k) && k !== 'sslpassword')
  if (at < 0) return
  const isDoubtful = keywords.slice(0, at).some((keyword) => keyword.endsWith('password'))
  throw usageError(
    'INVALID_URL',
    `${where} has a parameter that libpq does not know${isDoubtful ? '' : `: "${keywords[at]}"`}`,
    `${URL_EXAMPLE}; in a string of keywords, a value with blanks stands in single quotes`,
  )
}

const withoutEmpty = (parameters: Parameters): Parameters =>
  Object.fromEntries(Object.entries(parameters).filter(([, value]) => value !== ''))
