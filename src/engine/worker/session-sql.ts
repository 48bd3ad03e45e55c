import type { Step } from '../database/pipeline.js'

/**
 * What makes a session as good as new. Not DISCARD ALL, which also throws away the plans of our own functions.
 * RESET ALL stands before it, for the task's statement_timeout ends with it, but undoes no session authorization and
 * no role (RESET ROLE comes back to the one of ALTER ROLE … SET role). No statement of ours is prepared by name, so
 * DEALLOCATE ALL takes only the task's.
 */
export const CLEAN = `set session authorization default; reset role; close all; unlisten *;
  select pg_catalog.pg_advisory_unlock_all(); discard temp; discard sequences; deallocate all;
  select pg_catalog.setseed`

/** What our own statements need, whatever the task or its role has set; at the commit the task's come back. */
const OURSELVES = [
  `select pg_catalog.set_config('statement_timeout', '0', true), pg_catalog.set_config('lock_timeout', '0', true),
    pg_catalog.set_config('client_encoding', 'UTF8', true),
    pg_catalog.set_config('log_parameter_max_length_on_error', '0', true),
    pg_catalog.set_config('idle_in_transaction_session_timeout', '60s', true),
    pg_catalog.current_setting('transaction_read_only')`,
  'set local session authorization default',
  'set local role none',
]
export const AS_OURSELVES: Step[] = OURSELVES.map((text) => ({ text }))
export const AS_OURSELVES_SCRIPT = OURSELVES.join('; ')
export const READ_ONLY_FIELD = 5

/**
 * Behind the last statement of a task: the checks that would otherwise wait for the commit, as the task; and then all
 * that our finish needs, with whether it can be written at all.
 */
export const CHECK: Step[] = [{ text: 'set constraints all immediate' }, ...AS_OURSELVES]

/** A statement_timeout of the task could hit the cleaning behind the commit. */
export const COMMIT: Step[] = [{ text: 'set statement_timeout = 0' }, { text: 'commit' }]

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
