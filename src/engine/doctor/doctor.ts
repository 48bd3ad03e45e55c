import type { Database } from '../database/database.js'
import { requireInstalled } from '../installed.js'
import { namedQuery, schemaVersion } from '../sql-files.js'
import { type Check, check, type Finding, ok, type Patient, problem } from './check.js'
import { checkCrontab, checkPgCron } from './cron.js'
import { checkFunctions } from './functions.js'
import { checkXmin } from './horizon.js'
import { checkPrivileges, checkRole } from './rights.js'
import { checkClock, checkConnection, checkListen, checkPooler, checkServer } from './server.js'
import { checkSettings } from './settings.js'
import { checkBloat, checkDeadRows, checkIndexes, checkRetention } from './upkeep.js'
import { checkConnections, checkOrphans, checkSupervisors, checkUnserved } from './workforce.js'

/** Of a queue that is installed and ours to look into. */
const CHECKS: [name: string, look: (patient: Patient) => Promise<Finding | Finding[]>][] = [
  ['functions', checkFunctions],
  ['privileges', checkPrivileges],
  ['role', checkRole],
  ['supervisors', checkSupervisors],
  ['unserved', checkUnserved],
  ['orphans', checkOrphans],
  ['connections', checkConnections],
  ['settings', checkSettings],
  ['xmin', (patient) => checkXmin(patient)],
  ['dead-rows', checkDeadRows],
  ['bloat', (patient) => checkBloat(patient)],
  ['indexes', checkIndexes],
  ['retention', checkRetention],
  ['pg_cron', checkPgCron],
  ['crontab', () => checkCrontab()],
]

/** Looks at everything, changes nothing. The queue's own checks follow where it is installed and we may look. */
export async function examine(
  database: Database,
  options: { version: string; isPrivateServer: boolean },
): Promise<Check[]> {
  const checks = [
    ...(await check('connection', () => checkConnection(database))),
    ...(await check('server', () => checkServer(database))),
    ...(await check('pooler', () => checkPooler(database))),
  ]
  const isPooler = checks.some((c) => c.name === 'pooler' && c.level === 'problem')
  if (!isPooler) checks.push(...(await check('listen', () => checkListen(database))))
  checks.push(...(await check('clock', () => checkClock(database))))
  let schema: string | undefined
  const installation = await check('schema', async () => {
    schema = await requireInstalled(database)
    return checkInstallation(database, schema)
  })
  checks.push(...installation)
  if (schema === undefined || installation.some((c) => c.level === 'problem')) return checks
  const patient = { database, schema, ...options }
  for (const [name, look] of CHECKS) checks.push(...(await check(name, () => look(patient))))
  return checks
}

/** The version is this program's, the database is the one it was installed in, and we own the queue. */
async function checkInstallation(database: Database, schema: string): Promise<Finding> {
  const { role, owner, is_member } = await database.one<{ role: string; owner: string; is_member: boolean }>(
    namedQuery('ownership'),
  )
  if (!is_member)
    return problem(
      `"${role}" does not own the queue; the rest is for "${owner}" to look at`,
      'pgbq doctor --database-url, as the owner',
    )
  const identity = await database.one<{ is_same?: boolean }>(namedQuery('identity'))
  if (!identity?.is_same)
    return problem(
      'The queue was installed in another database or server, of which this one is a copy',
      'pgbq calibrate --adopt, if its tasks shall run here',
    )
  return ok(`The queue is in schema "${schema}", version ${schemaVersion()}`)
}
