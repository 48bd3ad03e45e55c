import type { ConnectionTarget } from '../engine/database/target.js'

/** A target as a URL, for the environment of a process of ours; it may hold a password. */
export function urlOf({ config }: ConnectionTarget): string {
  const { host = 'localhost', port = 5432, user = '', database = '', password, ssl } = config
  const login =
    encodeURIComponent(user) + (typeof password === 'string' ? `:${encodeURIComponent(password)}` : '')
  const base = `/${encodeURIComponent(database)}`
  if (host.startsWith('/'))
    return `postgresql://${login}@${base}?host=${encodeURIComponent(host)}&port=${port}`
  return `postgresql://${login}@${host}:${port}${base}${ssl ? '?sslmode=require' : ''}`
}
