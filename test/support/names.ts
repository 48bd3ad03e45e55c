/** An ordinary role that owns each test database, and two that may be granted something. */
export const OWNER = 'pgbq_owner'
export const ALICE = 'pgbq_alice'
export const BOB = 'pgbq_bob'
/** Two that others may become by SET ROLE, so that no test has to change memberships under the others. */
export const GROUP = 'pgbq_group'
export const SERVED = 'pgbq_served'
export const MEMBERSHIPS = [
  [GROUP, OWNER],
  [GROUP, ALICE],
  [SERVED, OWNER],
] as const
export const ROLES = [OWNER, ALICE, BOB, GROUP, SERVED]
export const PASSWORD = 'pgbq-tests'
export const TEMPLATE = 'pgbq_test_template'

export function withDatabase(url: string, database: string): string {
  const changed = new URL(url.replace(/@\//, '@placeholder/'))
  changed.pathname = `/${database}`
  return changed.toString().replace('@placeholder/', '@/')
}

export function withUser(url: string, user: string, password = PASSWORD): string {
  const changed = new URL(url.replace(/@\//, '@placeholder/'))
  changed.username = user
  changed.password = password
  return changed.toString().replace('@placeholder/', '@/')
}
