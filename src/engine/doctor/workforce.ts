import { laneTopic } from '../settings.js'
import { topicFlag } from '../shell-word.js'
import { inSchema, namedQuery } from '../sql-files.js'
import { count, type Finding, ok, type Patient, problem, warning } from './check.js'

interface SupervisorRow extends Record<string, unknown> {
  host: string
  pid: number
  version: string
  is_alive: boolean
  is_silent: boolean
}

/** Who is alive, who is not heard of, and whose version is another. */
export async function checkSupervisors({ database, version }: Patient): Promise<Finding | Finding[]> {
  const rows = await database.query<SupervisorRow>(namedQuery('workforce'))
  const alive = rows.filter((s) => s.is_alive)
  if (alive.length === 0) return findIdleness(await database.one(namedQuery('is_due')))
  const place = (s: SupervisorRow) => `${s.host}/${s.pid}`
  const silent = alive
    .filter((s) => s.is_silent)
    .map((s) =>
      warning(
        `The supervisor ${place(s)} is connected and silent: frozen, or its host is`,
        `kill ${s.pid}, on ${s.host}`,
      ),
    )
  const others = alive
    .filter((s) => s.version !== version)
    .map((s) =>
      warning(
        `The supervisor ${place(s)} has version ${s.version}, this program ${version}`,
        `restart pgbq work on ${s.host} with version ${version}`,
      ),
    )
  const findings = [...silent, ...others]
  return findings.length > 0
    ? findings
    : ok(`${count(alive.length, 'supervisor')}: ${alive.map(place).join(', ')}, version ${version}`)
}

function findIdleness({ is_due }: { is_due?: boolean }): Finding {
  return is_due
    ? problem('Tasks are due, and no supervisor is alive', 'pgbq work')
    : warning('No supervisor is alive; no task is due', 'pgbq work')
}

/** Due tasks that nobody who lives may run, by role and topic. */
export async function checkUnserved({ database }: Patient): Promise<Finding | Finding[]> {
  const rows = await database.query<{ role: string; lane: string; is_renamed: boolean; is_role: boolean }>(
    namedQuery('unserved'),
  )
  const findings = rows.map(({ role, lane, is_renamed, is_role }) => {
    if (is_renamed)
      return problem(
        `Tasks of role "${role}" wait, which was renamed or dropped since`,
        'pgbq calibrate --adopt',
      )
    if (is_role)
      return problem(
        `Tasks of role "${role}" are due, and no worker may log in as it`,
        'pgbq work --run-as set-role, or give it a login in .pgpass',
      )
    const topic = lane === '' ? null : laneTopic(lane)
    return problem(
      `${topicOf(lane)} are due, and no supervisor works for them`,
      lane === '' ? 'pgbq work' : `pgbq work ${topicFlag(topic)}`,
    )
  })
  return findings.length > 0
    ? findings
    : ok('No due task is of a role or topic that the supervisors cannot run')
}

function topicOf(lane: string): string {
  if (lane === '') return 'Tasks of topics that no --topic names'
  return lane === '/' ? 'Tasks without topic' : `Tasks of topic "${lane.slice(1)}"`
}

interface ConnectionsRow extends Record<string, unknown> {
  places: number
  used: number
  limit: number
  supervisors: number
  slots: number
  ours: number
  database_limit: number
  role_limit: number
}

/** Whether all the workers that may be started find a connection. */
export async function checkConnections({ database }: Patient): Promise<Finding> {
  const c = await database.one<ConnectionsRow>(namedQuery('connections'))
  const wanted = c.supervisors > 0 ? c.slots + c.supervisors : c.limit + 1
  const places = Math.min(...[c.places, c.database_limit, c.role_limit].filter((n) => n >= 0))
  const facts = `Workers and supervisors may open ${count(wanted, 'connection')}; ${c.used} of ${c.places} are in use`
  const fix = `pgbq config set max_parallel_running_tasks_count ${Math.max(1, Math.min(places - 3, c.places - c.used))}`
  if (wanted > places) return problem(`${facts}, and no more than ${places} are allowed`, fix)
  if (wanted - c.ours > c.places - c.used) return warning(`${facts}: too few are left`, fix)
  return ok(facts)
}

/** Running tasks whose worker is gone. */
export async function checkOrphans({ database, schema }: Patient): Promise<Finding> {
  const rows = await database.query<{ id: bigint }>(inSchema(namedQuery('orphans'), schema))
  if (rows.length === 0) return ok('Every running task has a living worker')
  const ids = rows.map((row) => row.id).join(', ')
  return problem(`${count(rows.length, 'task')} without a living worker: ${ids}`, 'pgbq calibrate')
}
