import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, inject } from 'vitest'
import { Database } from '../../src/engine/database/database.js'
import { type ConnectionTarget, resolveTarget } from '../../src/engine/database/target.js'
import { OWNER, TEMPLATE, withDatabase, withUser } from './names.js'

/** A database of this test file's own, with the queue installed (or empty), and sessions on it. */
export interface TestDatabase {
  readonly name: string
  /** URL as a role, by default the owner */
  url(role?: string): string
  target(role?: string): ConnectionTarget
  /** the owner's session */
  readonly owner: Database
  /** the superuser's session in this database */
  readonly admin: Database
  /** another session, closed at the end */
  session(role?: string): Promise<Database>
}

/** Makes the database before the file's tests and drops it after them. */
export function useDatabase(options: { isEmpty?: boolean } = {}): TestDatabase {
  const name = `pgbq_test_${randomBytes(6).toString('hex')}`
  const sessions: Database[] = []
  const superUrl = () => withDatabase(inject('serverUrl'), name)
  const open = async (url: string): Promise<Database> => {
    const session = await Database.connect(resolveTarget(url), { applicationName: 'pgbq tests' })
    sessions.push(session)
    return session
  }
  const database = {
    name,
    url: (role = OWNER) => withUser(superUrl(), role),
    target: (role = OWNER) => resolveTarget(withUser(superUrl(), role)),
    session: (role = OWNER) => open(withUser(superUrl(), role)),
  } as { -readonly [K in keyof TestDatabase]: TestDatabase[K] }

  beforeAll(async () => {
    const server = await Database.connect(resolveTarget(inject('serverUrl')), {
      applicationName: 'pgbq tests',
    })
    await server.query(
      `create database ${name} owner ${OWNER} ${options.isEmpty ? '' : `template ${TEMPLATE}`}`,
    )
    await server.close()
    database.admin = await open(superUrl())
    database.owner = await open(withUser(superUrl(), OWNER))
    if (!options.isEmpty) {
      await database.owner.query(
        'update background_queue.queue set database_oid = (select oid from pg_database where datname = current_database())',
      )
    }
  })
  afterAll(async () => {
    await Promise.all(sessions.map((session) => session.close()))
    const server = await Database.connect(resolveTarget(inject('serverUrl')), {
      applicationName: 'pgbq tests',
    })
    await server.query(`drop database if exists ${name} with (force)`)
    await server.close()
  })
  return database
}
