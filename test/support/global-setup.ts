import type { TestProject } from 'vitest/node'
import { Database } from '../../src/engine/database/database.js'
import { resolveTarget } from '../../src/engine/database/target.js'
import { install } from '../../src/engine/migrator.js'
import { MEMBERSHIPS, OWNER, PASSWORD, ROLES, TEMPLATE, withDatabase, withUser } from './names.js'
import { findServer, type TestServer } from './server.js'

declare module 'vitest' {
  interface ProvidedContext {
    serverUrl: string
    /** such as 18 */
    serverMajor: number
    programs: TestServer['programs']
  }
}

/** One server for all tests, and on it a template with the queue installed, of which each test file gets a clone. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const server = await findServer()
  process.stdout.write(`Tests run on ${server.found}\n`)
  const admin = await Database.connect(resolveTarget(server.url), { applicationName: 'pgbq tests' })
  await sweep(admin)
  for (const role of ROLES) {
    const [known] = await admin.query('select from pg_roles where rolname = $1', [role])
    if (!known) await admin.query(`create role ${role} login password '${PASSWORD}'`)
  }
  for (const [group, member] of MEMBERSHIPS) await admin.query(`grant ${group} to ${member}`)
  await admin.query(`create database ${TEMPLATE} owner ${OWNER}`)
  await closeSchema(server.url)
  const owner = await Database.connect(resolveTarget(withUser(withDatabase(server.url, TEMPLATE), OWNER)), {
    applicationName: 'pgbq tests',
  })
  await install(owner)
  await owner.close()
  await admin.query(`alter database ${TEMPLATE} with allow_connections false`)
  project.provide('serverUrl', server.url)
  const { major } = await admin.one<{ major: number }>(
    `select current_setting('server_version_num')::integer / 10000 as major`,
  )
  project.provide('serverMajor', major)
  project.provide('programs', server.programs)
  return async () => {
    await sweep(admin)
    await admin.close()
    await server.stop()
  }
}

/** Before PostgreSQL 15 everybody may create in the schema public, of which pgbq work warns. */
async function closeSchema(url: string): Promise<void> {
  const template = await Database.connect(resolveTarget(withDatabase(url, TEMPLATE)), {
    applicationName: 'pgbq tests',
  })
  await template.script(`revoke create on schema public from public; grant all on schema public to ${OWNER}`)
  await template.close()
}

/** Databases of this and of earlier runs. */
async function sweep(admin: Database): Promise<void> {
  const rows = await admin.query<{ datname: string }>(
    `select datname from pg_database where datname like 'pgbq\\_test\\_%'`,
  )
  for (const { datname } of rows) await admin.query(`drop database if exists ${datname} with (force)`)
}
