import { psqlCommand, sqlName } from '../shell-word.js'
import { namedQuery } from '../sql-files.js'
import { findRightsWarnings } from '../supervisor/rights-warnings.js'
import { type Finding, ok, type Patient, problem, warning } from './check.js'

interface RightsProblem extends Record<string, unknown> {
  object: string
  grantee: string | null
  privilege: string | null
  problem: string
}

/** Everything that is not as an install leaves it, one line each. */
export async function checkPrivileges({ database, schema }: Patient): Promise<Finding | Finding[]> {
  const problems = await database.query<RightsProblem>(namedQuery('rights_problems'))
  if (problems.length === 0) return ok('Rights are as an install leaves them')
  return problems.map((p) => {
    if (p.privilege === 'CREATE' && p.grantee === 'PUBLIC')
      return warning(p.problem, psqlCommand(`REVOKE CREATE ON SCHEMA ${sqlName(schema)} FROM PUBLIC`))
    if (p.privilege === 'OWNER')
      return problem(p.problem, `give it to the queue's owner, or drop it: ${p.object}`)
    if (p.problem.startsWith('the policy')) return problem(p.problem, `drop that policy of ${p.object}`)
    return problem(p.problem, 'pgbq install')
  })
}

/** Who runs the queue: its owner, and better no superuser. */
export async function checkRole({ database, isPrivateServer }: Patient): Promise<Finding> {
  const { role } = await database.one<{ role: string }>('select current_user as role')
  if (isPrivateServer) return ok(`"${role}" on a server of its own`)
  const [first] = (await findRightsWarnings(database, false)).filter((line) => !line.startsWith('Rights: '))
  if (first === undefined) return ok(`"${role}" owns the queue and is no superuser`)
  return warning(first, 'pgbq work --database-url postgresql://OWNER@HOST/DATABASE')
}
