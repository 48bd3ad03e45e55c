import { usageError } from '../errors.js'

const HINT = 'pgbq status --database-url postgresql://user@host/database'
const URL_PARTS = /^postgres(?:ql)?:\/\/(?:([^/?]*)@)?([^/?]*)(?:\/([^?]*))?(?:\?(.*))?$/s
const HOST = /^(?:\[([^[\]]+)\]|([^:[\]]*))(?::(\d*))?$/
const WORD = /\s*(\w+)\s*=\s*(?:'((?:[^'\\]|\\.)*)'|((?!')(?:[^\s\\]|\\.)*))(?:\s+|$)/suy

/**
 * The parameters of a connection URL, whose parts are as libpq divides them: a list of hosts, each part with
 * percent signs, a raw # or ? or @ in a password. A % that begins no code stands for itself. Errors: INVALID_URL.
 * https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS
 */
export function parseUrl(url: string): Record<string, string> {
  const [, login, hosts, database, query] = URL_PARTS.exec(url) ?? refuse('it has a line break')
  const colon = login?.indexOf(':') ?? -1
  return {
    ...(login === undefined ? {} : { user: decode(colon < 0 ? login : login.slice(0, colon)) }),
    ...(login === undefined || colon < 0 ? {} : { password: decode(login.slice(colon + 1)) }),
    ...parseHosts(hosts!),
    ...(database ? { dbname: decode(database) } : {}),
    ...parseQuery(query ?? ''),
  }
}

function parseHosts(text: string): Record<string, string> {
  if (text === '') return {}
  const list = text
    .split(',')
    .map((one) => HOST.exec(one) ?? refuse('its hosts and ports are not as in host1:5432,host2'))
  const ports = list.map((match) => match[3] ?? '')
  if (ports.some((port) => port !== '' && !isPort(port))) refuse('its port is no number from 1 to 65535')
  const host = list.map((match) => match[1] ?? decode(match[2]!)).join(',')
  return { host, ...(ports.some((port) => port !== '') ? { port: ports.join(',') } : {}) }
}

function parseQuery(text: string): Record<string, string> {
  const pairs = text
    .split('&')
    .filter((pair) => pair.includes('='))
    .map((pair) => [pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1)].map(decode))
  const { ssl, ...parameters } = Object.fromEntries(pairs) as Record<string, string>
  if (ssl === undefined || parameters.sslmode !== undefined) return parameters
  // of JDBC and of `pg`
  if (['true', '1'].includes(ssl)) return { ...parameters, sslmode: 'require' }
  return { ...parameters, sslmode: ssl === 'no-verify' ? 'no-verify' : 'disable' }
}

/**
 * The parameters of a string such as `host=db.internal dbname='my app'`. Errors: INVALID_URL.
 * https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-KEYWORD-VALUE
 */
export function parseKeywords(text: string): Record<string, string> {
  const parameters: Record<string, string> = {}
  WORD.lastIndex = 0
  while (WORD.lastIndex < text.length) {
    const at = WORD.lastIndex
    const match = WORD.exec(text)
    if (!match) refuse(`no keyword = value stands at its character ${at + 1}`, 'connection string')
    const [, keyword, quoted, plain] = match!
    parameters[keyword!] = (quoted ?? plain ?? '').replace(/\\(.)/gs, '$1')
  }
  return parameters
}

export const isPort = (text: string): boolean => /^\d{1,5}$/.test(text) && +text >= 1 && +text <= 65535

function decode(text: string): string {
  if (/%00/.test(text)) refuse('it holds %00')
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

/** Never with a part of it, which may be one of the password. */
function refuse(why: string, what = 'database URL'): never {
  throw usageError('INVALID_URL', `The ${what} cannot be read: ${why}`, HINT)
}
