import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Database, type Row } from '../engine/database/database.js'
import type { ConnectionTarget } from '../engine/database/target.js'
import { QueueError } from '../engine/errors.js'
import { install } from '../engine/migrator.js'
import { storeParameter } from '../engine/settings.js'
import { Line } from './line.js'
import type { OwnServer } from './own-server.js'
import { Passwords } from './passwords.js'
import { Pooler } from './pooler.js'
import { readSections } from './sections.js'

/** Topics of the workload with the limits they begin with; '' is the whole queue, "free" has none of its own. */
export const LIMITS: Record<string, number> = { '': 7, pair: 2, single: 1, delayed: 1, grouped: 2 }
/** Tasks of these topics end together in one transaction. */
const TOGETHER = ['grouped', 'single']
export const DELAY_SEC = 0.2

export interface ArenaOptions {
  /** a user of this server who may make databases, and roles if tasks of a second role shall run */
  server: ConnectionTarget
  /** where the server is ours to restart */
  own?: OwnServer | undefined
  /** run by the queue's owner once it is installed: tests break the queue with it */
  prepare?: ((database: Database) => Promise<void>) | undefined
}

interface MadeDatabase {
  name: string
  owner: string
  app: string | undefined
  password: string
}

/** A scratch database with a queue and the auditable work in it; dropped at the end with the roles made for it. */
export class Arena {
  readonly own: OwnServer | undefined
  readonly name: string
  /** the queue's owner, and a second role that may enqueue; undefined where no role could be made */
  readonly owner: string
  readonly app: string | undefined
  readonly passwords: Passwords
  /** an empty folder in which supervisors run, so that no configuration file is found */
  readonly folder: string
  readonly line: Line
  readonly appLine: Line | undefined
  /** as whoever made the database: on a server of our own, a superuser */
  readonly admin: Line
  /** in front of a server of our own, where this machine has pgbouncer */
  pooler: Pooler | undefined
  private readonly server: ConnectionTarget

  private constructor({ server, own }: ArenaOptions, { name, owner, app, password }: MadeDatabase) {
    this.server = server
    this.own = own
    this.name = name
    this.owner = owner
    this.app = app
    this.folder = mkdtempSync(join(tmpdir(), 'pgbq-torture-'))
    this.passwords = new Passwords(this.folder, app === undefined ? new Map() : new Map([[app, password]]))
    this.admin = new Line(this.targetOf(undefined))
    this.line = new Line(this.targetOf(this.owner))
    this.appLine = this.app === undefined ? undefined : new Line(this.targetOf(this.app))
  }

  /** Errors: NOT_ALLOWED, and those of Database.connect and install. */
  static async open(options: ArenaOptions): Promise<Arena> {
    const name = `pgbq_torture_${randomBytes(4).toString('hex')}`
    const arena = new Arena(options, await makeDatabase(options, name))
    try {
      await arena.build(options.prepare)
      return arena
    } catch (error) {
      await arena.close()
      throw error
    }
  }

  /** Where a role connects; undefined: as whoever made the database. */
  targetOf(role: string | undefined): ConnectionTarget {
    const { url: _, config: given, ...rest } = this.server
    const { password, ...config } = given
    const isGiven = role === undefined || role === this.server.config.user
    const own = role === undefined ? undefined : this.passwords.of(role)
    return {
      ...rest,
      config: {
        ...config,
        ...(isGiven ? (password === undefined ? {} : { password }) : { user: role }),
        ...(own === undefined ? {} : { password: own }),
        database: this.name,
      },
    }
  }

  private async build(prepare: ArenaOptions['prepare']): Promise<void> {
    await this.line.use(async (database) => {
      const { schema } = await install(database, { grantEnqueue: this.app === undefined ? [] : [this.app] })
      for (const sql of readSections('arena', schema).values()) await database.query(sql)
      if (this.app !== undefined) await database.query(grants(this.app))
      await storeParameter(database, '/delayed', 'delay_in_sec', String(DELAY_SEC))
      for (const topic of TOGETHER) await storeParameter(database, `/${topic}`, 'max_tasks_per_commit', '20')
      for (const [topic, limit] of Object.entries(LIMITS)) await setLimit(database, topic, limit)
      await prepare?.(database)
    })
    const roles = [this.owner, ...(this.app === undefined ? [] : [this.app])]
    if (this.own) this.pooler = await Pooler.start(this.server.config.host!, roles)
  }

  ask<T extends Row>(text: string, values: unknown[] = []): Promise<T[]> {
    return this.line.query<T>(text, values)
  }

  /** Drops what was made, as far as the server lets us. */
  async close(): Promise<void> {
    for (const line of [this.line, this.appLine, this.admin]) await line?.close()
    await this.pooler?.stop()
    try {
      if (this.own === undefined) await this.drop()
    } finally {
      rmSync(this.folder, { recursive: true, force: true })
    }
  }

  private async drop(): Promise<void> {
    const server = await Database.connect(this.server, { applicationName: 'pgbq torture' })
    try {
      await server.query(`drop database if exists ${this.name} with (force)`)
      if (this.app !== undefined) await server.query(`drop role if exists ${this.app}`)
    } finally {
      await server.close()
    }
  }
}

/** A limit, and in the same transaction the note of when it came into force. */
export async function setLimit(database: Database, topic: string, limit: number): Promise<void> {
  await database.transaction(async () => {
    const lane = topic === '' ? '' : `/${topic}`
    await storeParameter(database, lane, 'max_parallel_running_tasks_count', String(limit))
    await database.query(
      `update torture.limits set until = clock_timestamp() where topic = $1 and until = 'infinity'`,
      [topic],
    )
    await database.query('insert into torture.limits (topic, value) values ($1, $2)', [topic, limit])
  })
}

/** On a server of our own the queue belongs to an ordinary role; on a given one, to whoever was given. */
async function makeDatabase({ server, own }: ArenaOptions, name: string): Promise<MadeDatabase> {
  const session = await Database.connect(server, { applicationName: 'pgbq torture' })
  const app = `${name}_app`
  const password = randomBytes(12).toString('hex')
  try {
    const { role } = await session.one<{ role: string }>('select current_user as role')
    const owner = own === undefined ? role : `${name}_owner`
    if (own !== undefined) await session.query(`create role ${owner} login`)
    await session.query(`create database ${name} owner "${owner.replaceAll('"', '""')}" template template0`)
    const hasApp = await session
      .query(`create role ${app} login password '${password}'`)
      .then(() => true)
      .catch(() => false)
    return { name, owner, app: hasApp ? app : undefined, password }
  } catch (error) {
    if ((error as { code?: string }).code !== '42501') throw error
    throw new QueueError(
      'NOT_ALLOWED',
      `The torture needs a database of its own: ${(error as Error).message}`,
      {
        hint: 'pgbq torture --embedded, on a server of its own',
        cause: error,
      },
    )
  } finally {
    await session.close()
  }
}

const grants = (role: string): string => `grant usage on schema torture to ${role};
  grant select, insert, update, delete on all tables in schema torture to ${role};
  revoke all on torture.owner_only from ${role};
  grant usage on all sequences in schema torture to ${role}`
