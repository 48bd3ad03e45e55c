import { Database } from '../engine/database/database.js'
import { type ConnectionTarget, describeTarget } from '../engine/database/target.js'
import { QueueError } from '../engine/errors.js'
import { withoutPassword } from '../engine/schedule/own-call.js'

/** The demo's database; nothing else on the server is touched. */
export const DEMO_DATABASE = 'pgbq_demo'
const APPLICATION = 'pgbq demo'
const MARK = 'Made by "pgbq demo", which drops it at its next run'

/** A fresh database for one demo at a time. */
export interface DemoPlace {
  target: ConnectionTarget
  database: Database
  close(): Promise<void>
}

/**
 * Drops the database of the last demo and makes a new one; a session on the given database holds a lock as long
 * as the demo goes on. Errors: DEMO_RUNNING, DEMO_DATABASE_TAKEN, NOT_ALLOWED, and those of Database.connect.
 */
export async function openPlace(server: ConnectionTarget): Promise<DemoPlace> {
  const admin = await Database.connect(server, { applicationName: APPLICATION })
  try {
    await lock(admin)
    await refuseOthers(admin)
    await renew(admin)
    const target = targetOf(server)
    const database = await Database.connect(target, { applicationName: APPLICATION })
    return {
      target,
      database,
      close: async () => {
        await database.close()
        await admin.close()
      },
    }
  } catch (error) {
    await admin.close()
    throw error
  }
}

async function lock(admin: Database): Promise<void> {
  const { locked } = await admin.one<{ locked: boolean }>(
    `select pg_try_advisory_lock(hashtext('pgbq demo')) as locked`,
  )
  if (!locked) {
    throw new QueueError('DEMO_RUNNING', `Another demo is running on ${describeTarget(admin.target)}`, {
      hint: 'wait for its end, then: pgbq demo',
    })
  }
}

/** Somebody's own database of that name, and a supervisor that works in the last demo's, are left in peace. */
async function refuseOthers(admin: Database): Promise<void> {
  const [known] = await admin.query<{ mark: string | null; user_pid: number | null; user_name: string }>(
    `select shobj_description(d.oid, 'pg_database') as mark, a.pid as user_pid, a.application_name as user_name
     from pg_database d left join pg_stat_activity a
       on a.datid = d.oid and a.application_name in ($2, 'pg_background_queue supervisor')
     where d.datname = $1 limit 1`,
    [DEMO_DATABASE, APPLICATION],
  )
  if (known === undefined) return
  if (known.mark !== MARK) {
    throw new QueueError('DEMO_DATABASE_TAKEN', `The database "${DEMO_DATABASE}" was not made by a demo`, {
      hint: `psql -c 'DROP DATABASE ${DEMO_DATABASE}' if nobody needs it, then: pgbq demo`,
    })
  }
  if (known.user_pid !== null) {
    throw new QueueError(
      'DEMO_RUNNING',
      `The database "${DEMO_DATABASE}" is in use by "${known.user_name}" (backend pid ${known.user_pid})`,
      { hint: 'end it, then: pgbq demo' },
    )
  }
}

async function renew(admin: Database): Promise<void> {
  try {
    await admin.query(`drop database if exists ${DEMO_DATABASE} with (force)`)
    await admin.query(`create database ${DEMO_DATABASE} template template0`)
    await admin.query(`comment on database ${DEMO_DATABASE} is '${MARK}'`)
  } catch (error) {
    throw explain(error as Error & { code?: string }, admin)
  }
}

function explain(error: Error & { code?: string }, { target }: Database): Error {
  if (error.code !== '42501') return error
  return new QueueError(
    'NOT_ALLOWED',
    `The role "${target.config.user}" may not make the database "${DEMO_DATABASE}" anew: ${error.message}`,
    { hint: 'pgbq demo, without --database-url, on the embedded PostgreSQL', cause: error },
  )
}

function targetOf({ config, url, ...rest }: ConnectionTarget): ConnectionTarget {
  return {
    ...rest,
    config: { ...config, database: DEMO_DATABASE },
    ...(url === undefined ? {} : { url: urlOf(url) }),
  }
}

/** The same server's URL with the demo's database. */
function urlOf(url: string): string {
  if (!/^\w+:\/\//.test(url)) return `${url} dbname=${DEMO_DATABASE}`
  return url.replace(/^(\w+:\/\/[^/?]*)(\/[^?]*)?/, `$1/${DEMO_DATABASE}`)
}

/** A target's URL for a person to type, without a password; undefined where it came from elsewhere. */
export function shownUrl({ url }: ConnectionTarget): string | undefined {
  return url === undefined ? undefined : withoutPassword(url)
}
