-- The queue itself: states, tasks, and what is kept of attempts that did not finish.

create schema background_queue;

-- pending: enqueued, released, rescued or retried by hand · running: held by one worker's claim
-- retrying: failed, due again at run_at · failed, finished, cancelled: closed, never claimed again
create type :"schema".pg_background_queue_task_state as enum
  ('pending', 'running', 'retrying', 'failed', 'finished', 'cancelled');

create table :"schema".pg_background_tasks (
  id                 bigserial primary key,
  sql_statement      text not null,
  topic              text,
  joined_at          timestamptz not null default statement_timestamp(),
  started_at         timestamptz,
  closed_at          timestamptz,
  priority           integer not null default 100,
  state              :"schema".pg_background_queue_task_state not null default 'pending',
  retry_count        integer not null default 0,
  retry_delay_in_sec integer not null default 0,
  errors             text,
  run_at             timestamptz not null default statement_timestamp(),
  enqueued_by        name not null default current_user,
  enqueued_by_oid    oid not null default quote_ident(current_user)::regrole::oid,
  max_retries        integer,
  timeout_in_sec     double precision,
  mode               text not null default 'auto',
  isolation          text,
  unique_key         text,
  rows_affected      bigint,
  command_tag        text,
  lane               text not null,
  worker_id          bigint,
  token_hash         bytea,
  end_requested      text,
  end_requested_by   name,
  statements_done    integer not null default 0,
  worker_deaths      integer not null default 0,
  rescues            integer not null default 0,

  constraint statement_is_not_blank check (btrim(sql_statement, E' \t\r\n\f\x0b') <> ''),
  constraint topic_has_1_to_200_characters check (length(topic) between 1 and 200),
  constraint waiting_has_not_ended check (state not in ('pending', 'running', 'retrying') or closed_at is null),
  constraint closed_has_ended check (state not in ('failed', 'finished', 'cancelled') or closed_at is not null),
  constraint pending_has_not_started check (state <> 'pending' or started_at is null),
  constraint running_has_started check (state not in ('running', 'retrying') or started_at is not null),
  constraint finished_has_no_errors check (state <> 'finished' or errors is null),
  constraint retrying_has_errors check (state <> 'retrying' or errors is not null),
  constraint only_running_is_claimed check (state = 'running' or
    (token_hash is null and worker_id is null and end_requested is null)),
  constraint claim_is_whole check ((token_hash is null) = (worker_id is null)),
  constraint end_requested_is_known check (end_requested in ('cancel', 'timeout', 'release')),
  constraint mode_is_known check (mode in ('auto', 'transaction', 'autocommit')),
  constraint isolation_is_known check (isolation in ('read committed', 'repeatable read', 'serializable')),
  constraint retries_are_counted check (retry_count >= 0 and retry_delay_in_sec >= 0 and max_retries between 0 and 1000),
  constraint timeout_is_positive check (timeout_in_sec >= 0)
);

-- Waiting tasks by role, lane, priority, the time they became due, and id: the order of claiming. A lane is ''
-- for every topic without limit, delay or pause, and '/' || topic for each other one, so that a saturated or
-- paused topic is stepped over at once however many tasks wait in it.
create index tasks_claim_idx on :"schema".pg_background_tasks (enqueued_by_oid, lane, priority, run_at, id)
  where state in ('pending', 'retrying');
create index tasks_running_idx on :"schema".pg_background_tasks (coalesce(topic, '')) where state = 'running';
create index tasks_retrying_idx on :"schema".pg_background_tasks (run_at) where state = 'retrying';
create index tasks_closed_idx on :"schema".pg_background_tasks (closed_at, id)
  where state in ('failed', 'finished', 'cancelled');
create unique index tasks_unique_key_idx on :"schema".pg_background_tasks (enqueued_by_oid, unique_key)
  where unique_key is not null and state in ('pending', 'running', 'retrying');

-- One row for each attempt that did not finish. No foreign key: the owner may TRUNCATE the tasks.
create table background_queue.attempts (
  id         bigint generated always as identity primary key,
  task_id    bigint not null,
  outcome    text not null check (outcome in ('failed', 'retrying', 'rescued', 'released', 'cancelled')),
  started_at timestamptz,
  ended_at   timestamptz not null default clock_timestamp(),
  sqlstate   text,
  message    text,
  detail     text,
  hint       text,
  context    text,
  position   integer,
  host       text,
  worker_pid integer,
  backend_pid integer
);
create index attempts_task_idx on background_queue.attempts (task_id);
