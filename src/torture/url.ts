import type { ConnectionTarget } from '../engine/database/target.js'

/** A target as a URL, for the environment of a process of ours; it may hold a password. */
export function urlOf({ config, tls }: ConnectionTarget): string {
  const { host = 'localhost', port = 5432, user = '', database = '', password } = config
  const login =
    encodeURIComponent(user) + (typeof password === 'string' ? `:${encodeURIComponent(password)}` : '')
  const base = `/${encodeURIComponent(database)}`
  if (host.startsWith('/'))
    return `postgresql://${login}@${base}?host=${encodeURIComponent(host)}&port=${port}`
  return `postgresql://${login}@${host}:${port}${base}${query(tls)}`
}

const query = (tls: ConnectionTarget['tls']): string => {
  if (tls === undefined) return ''
  const { mode, rootCert, cert, key } = tls
  const files = Object.entries({ sslrootcert: rootCert, sslcert: cert, sslkey: key })
  const given = files.filter(([, file]) => file !== undefined) as [string, string][]
  return `?${new URLSearchParams([['sslmode', mode], ...given])}`
}
