-- The queue itself: states, tasks, and what is kept of attempts that did not finish.

create schema background_queue;

-- pending: enqueued, released, rescued or retried by hand · running: held by one worker's claim
-- retrying: failed, due again at run_at · failed, finished, cancelled: closed, never claimed again
create type :"schema".pg_background_queue_task_state as enum
  ('pending', 'running', 'retrying', 'failed', 'finished', 'cancelled');

-- The rules of a row, by name. One function in one CHECK: fifteen CHECKs would be read and prepared anew by every
-- statement that writes a task, at 90 µs each time.
create function background_queue.is_possible(p_state :"schema".pg_background_queue_task_state, p_topic text,
  p_started_at timestamptz, p_closed_at timestamptz, p_errors text, p_token_hash bytea, p_worker_id bigint,
  p_end_requested text, p_mode text, p_isolation text, p_retry_count integer, p_retry_delay_in_sec integer,
  p_max_retries integer, p_timeout_in_sec double precision) returns boolean language plpgsql immutable as $$
declare
  v_broken text;
begin
  v_broken := case
    when p_state in ('pending', 'running', 'retrying') and p_closed_at is not null then 'waiting_has_not_ended'
    when p_state in ('failed', 'finished', 'cancelled') and p_closed_at is null then 'closed_has_ended'
    when p_state = 'pending' and p_started_at is not null then 'pending_has_not_started'
    when p_state in ('running', 'retrying') and p_started_at is null then 'running_has_started'
    when p_state = 'finished' and p_errors is not null then 'finished_has_no_errors'
    when p_state = 'retrying' and p_errors is null then 'retrying_has_errors'
    when p_state <> 'running' and (p_token_hash is not null or p_worker_id is not null or p_end_requested is not null)
      then 'only_running_is_claimed'
    when (p_token_hash is null) <> (p_worker_id is null) then 'claim_is_whole'
    when pg_catalog.length(p_topic) not between 1 and 200 then 'topic_has_1_to_200_characters'
    when p_end_requested not in ('cancel', 'timeout', 'release') then 'end_requested_is_known'
    when p_mode not in ('auto', 'transaction', 'autocommit') then 'mode_is_known'
    when p_isolation not in ('read committed', 'repeatable read', 'serializable') then 'isolation_is_known'
    when p_retry_count < 0 or p_retry_delay_in_sec < 0 or p_max_retries not between 0 and 1000 then 'retries_are_counted'
    when p_timeout_in_sec < 0 then 'timeout_is_positive'
  end;
  if v_broken is not null then
    raise exception using errcode = '23514', constraint = v_broken, table = 'pg_background_tasks',
      message = pg_catalog.format('A %s task breaks the rule "%s"', p_state, v_broken);
  end if;
  return true;
end $$;

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

  constraint task_is_possible check (background_queue.is_possible(state, topic, started_at, closed_at, errors,
    token_hash, worker_id, end_requested, mode, isolation, retry_count, retry_delay_in_sec, max_retries, timeout_in_sec))
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
