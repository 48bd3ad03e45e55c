import type { Step } from '../database/pipeline.js'

/**
 * What makes a session as good as new. Not DISCARD ALL, which also throws away the plans of our own functions.
 * RESET ALL stands before it, for the task's statement_timeout ends with it, but undoes no session authorization and
 * no role (RESET ROLE comes back to the one of ALTER ROLE … SET role). No statement of ours is prepared by name, so
 * DEALLOCATE ALL takes only the task's.
 */
export const CLEAN = `set session authorization default; reset role; close all; unlisten *;
  discard temp; discard sequences; deallocate all`

/** The rest of it; to be given the new seed of random(). */
export const UNLOCK_AND_RESEED = 'select pg_catalog.pg_advisory_unlock_all(), pg_catalog.setseed'

export const BEGIN_OURS = 'begin isolation level read committed read write'

/** What our own statements need, whatever the task or its role has set; at the commit the task's come back. */
const OURSELVES = [
  'set local statement_timeout = 0',
  'set local lock_timeout = 0',
  'set local client_encoding = UTF8',
  'set local log_parameter_max_length_on_error = 0',
  'set local idle_in_transaction_session_timeout = 60000',
  'set local session authorization default',
  'set local role none',
]
export const AS_OURSELVES: Step[] = OURSELVES.map((text) => ({ text }))
export const AS_OURSELVES_SCRIPT = OURSELVES.join('; ')

/**
 * Behind the last statement of a task: the checks that would otherwise wait for the commit, as the task; and then all
 * that our finish needs.
 */
export const CHECK_STEPS: Step[] = [{ text: 'set constraints all immediate' }, ...AS_OURSELVES]
export const CHECK_SCRIPT = `set constraints all immediate; ${AS_OURSELVES_SCRIPT}`

/** A statement_timeout of the task could hit the cleaning behind the commit. */
export const COMMIT_SCRIPT = 'set statement_timeout = 0; commit'
/** The tags with which that is answered. */
export const COMMITTED = ['SET', 'COMMIT']

/** Behind the last statement of a task that has only read, nothing is lost or done twice if our record stands apart. */
export const HAS_ONLY_READ = `select pg_catalog.current_setting('transaction_read_only') = 'on'
  and pg_catalog.pg_current_xact_id_if_assigned() is null as has_only_read`

/** Guards of a worker's session, each what RESET ALL comes back to. */
export const SETTINGS: Record<string, string> = {
  tcp_keepalives_idle: '5',
  tcp_keepalives_interval: '2',
  tcp_keepalives_count: '3',
  tcp_user_timeout: '10000',
  idle_in_transaction_session_timeout: '60000',
  // with it, an error's context would show the claim's token
  log_parameter_max_length_on_error: '0',
}

/** Those that PostgreSQL 13 does not know. */
export const SETTINGS_14: Record<string, string> = {
  client_connection_check_interval: '500',
  idle_session_timeout: '0',
}
