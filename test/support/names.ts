/** An ordinary role that owns each test database, and two that may be granted something. */
export const OWNER = 'pgbq_owner'
export const ALICE = 'pgbq_alice'
export const BOB = 'pgbq_bob'
export const ROLES = [OWNER, ALICE, BOB]
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
