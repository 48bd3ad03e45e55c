import './navigator.js'
import pg from 'pg'
import type { ConnectionTarget } from './target.js'
import { tlsOptions } from './tls.js'

/** A client of `pg` for the one server of a target; nothing of its settings comes from the environment. */
export function makeClient(
  target: ConnectionTarget,
  isEncrypted: boolean,
  config: pg.ClientConfig = {},
): pg.Client {
  const { host = 'localhost' } = target.config
  const { tls } = target
  return new pg.Client({
    ...target.config,
    host: target.hosts?.[0]?.address ?? host,
    // loaded where the server asks for one
    password: target.config.password ?? (async () => (await import('./password.js')).readPassword(target)),
    ssl: isEncrypted && tlsOptions(tls ?? { mode: 'prefer' }, host),
    sslnegotiation: isEncrypted && tls?.isDirect ? 'direct' : 'postgres',
    ...config,
  } as pg.ClientConfig)
}
