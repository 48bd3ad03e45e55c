import { QueueError } from '../errors.js'
import { Database, type Row } from './database.js'
import { type ConnectionTarget, describeTarget } from './target.js'

/** Connects and is let in, but gets no server connection: a pooler queues such a client, for minutes or for ever. */
const ANSWER_WITHIN_MS = 10_000
const LOOKS = 5

/** Whether something stands between a session and the server: its key names another process than the backend's. */
export function isPooled({ pid, processId }: { pid: number; processId: number }): boolean {
  return pid !== processId
}

/**
 * Refuses a pooler that hands out server connections by the transaction or the statement. It gives a free one to
 * whoever asks next, so two sessions that ask in turn meet in one backend, or one of them sees two. (Where others
 * are so busy that this stays unseen, a claim from another backend than the registered one is still refused.)
 * Costs a server without a pooler one query. Errors: TRANSACTION_POOLER, POOL_EXHAUSTED, those of Database.connect.
 */
export async function refuseTransactionPooler(database: Database): Promise<void> {
  const pid = await backendPid(database)
  if (!isPooled({ pid, ...database.backendKey })) return
  const other = await Database.connect(database.target, { applicationName: 'pgbq' })
  try {
    for (let look = 1; look <= LOOKS; look++) {
      if ((await backendPid(other)) === pid || (await backendPid(database)) !== pid)
        throw transactionPooler(database)
    }
  } finally {
    await other.close()
  }
}

async function backendPid(database: Database): Promise<number> {
  const [row] = await firstAnswer<{ pid: number }>(database, 'select pg_backend_pid() as pid')
  return row!.pid
}

function transactionPooler({ target }: Database): QueueError {
  return new QueueError(
    'TRANSACTION_POOLER',
    `A connection pooler in transaction mode stands in front of ${describeTarget(target)}. There is no LISTEN through it, no session settings hold, and no end of a backend tells that a worker is dead`,
    {
      hint: 'name the server itself for the workers: --direct-url postgresql://user@server/database, PGBQ_DIRECT_URL, or direct_url in the configuration file',
    },
  )
}

interface Setting extends Row {
  name: string
  setting: string
  source: string
}

/**
 * Makes sure that the settings which a session was opened with hold; a pooler may have dropped them. Resolves with
 * the SQL that brings them back behind RESET ALL: '' where the server's own start of the session has set them.
 * Errors: SETTINGS_LOST, POOL_EXHAUSTED.
 */
export async function putInForce(database: Database, settings: Record<string, string>): Promise<string> {
  const known = await readSettings(database, settings)
  if (known.every(({ source }) => source === 'client')) return ''
  const all = { ...settings, ...database.identity }
  const text = Object.entries(all)
    .filter(([name]) => name in database.identity || known.some((k) => k.name === name))
    // SET would take a list, such as a search_path, for one name
    .map(([name, value]) => `select pg_catalog.set_config('${name}', '${value}', false);`)
    .join(' ')
  await database.client.query(text)
  const lost = (await readSettings(database, settings)).find((s) => !holds(s, settings[s.name]!))
  if (!lost) return text
  throw new QueueError(
    'SETTINGS_LOST',
    `The setting ${lost.name} of a session does not hold at ${describeTarget(database.target)}: it is "${lost.setting}"`,
    { hint: 'name the server itself in --database-url, not a connection pooler' },
  )
}

/** Those that this server knows. */
function readSettings(database: Database, settings: Record<string, string>): Promise<Setting[]> {
  return firstAnswer<Setting>(
    database,
    'select name, setting, source from pg_catalog.pg_settings where name = any($1)',
    [Object.keys(settings)],
  )
}

/** On a unix socket the settings of TCP read 0 whatever they are. */
function holds({ name, setting, source }: Setting, value: string): boolean {
  return source === 'session' && (setting === value || name.startsWith('tcp_'))
}

/**
 * Any login may be a pooler's, which then queues the first query until it has a server connection to give.
 * Errors: POOL_EXHAUSTED, those of Database.query.
 */
export function firstAnswer<T extends Row>(
  database: Database,
  text: string,
  values: unknown[] = [],
): Promise<T[]> {
  return database.within(ANSWER_WITHIN_MS, database.query<T>(text, values), poolExhausted(database.target))
}

/** The pooler's pool is too small for what has to connect. */
export function poolExhausted(target: ConnectionTarget): QueueError {
  return new QueueError(
    'POOL_EXHAUSTED',
    `The login to ${describeTarget(target)} was taken, but its first query waited ${ANSWER_WITHIN_MS / 1000} s in vain, as behind a connection pooler without a free server connection`,
    { hint: "raise the pooler's pool_size to the number of workers and two more" },
  )
}
