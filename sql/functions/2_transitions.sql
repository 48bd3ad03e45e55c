-- The life of a task: every change of its state is one function on this page.
--
--   enqueue ─▶ pending ─claim─▶ running ─finish─▶ finished
--                 ▲               │ └─fail─▶ retrying (claimed again when due) or failed; cancelled when asked
--                 └─release─rescue┘          retry: failed, cancelled ─▶ pending · cancel: waiting ─▶ cancelled
--
-- A running task is held by a claim: a worker and a token of which the row keeps only the hash. Whoever ends a
-- run shows the token, or proves that the worker's backend is gone. Locks are taken in this order: the claim
-- gate, a lane, a task.
-- SQLSTATEs: PQ001 claim lost · PQ002 end requested · PQ003 worker unknown · PQ004 group over · PQ010 blank SQL ·
-- PQ011 topic · PQ012 option · PQ013 refused retry · PQ020 parameter

-- The rules of a row, by name, in one CHECK: fifteen would be read and prepared anew by each statement that writes tasks.
-- So would each expression here by each transaction, which is why one says of most rows that they are right. It runs with
-- the search_path of whoever writes a row, the owner in psql too.
create or replace function background_queue.is_possible(p_state :"schema".pg_background_queue_task_state, p_topic text,
  p_started_at timestamptz, p_closed_at timestamptz, p_errors text, p_token_hash bytea, p_worker_id bigint,
  p_end_requested text, p_mode text, p_isolation text, p_retry_count integer, p_retry_delay_in_sec integer,
  p_max_retries integer, p_timeout_in_sec double precision) returns boolean language plpgsql immutable
set search_path = pg_catalog, pg_temp as $$
declare
  v_broken text;
begin
  if p_mode = 'auto' and num_nulls(p_end_requested, p_errors, p_isolation, p_max_retries, p_timeout_in_sec) = 5
     and p_retry_count >= 0 and p_retry_delay_in_sec >= 0 and coalesce(length(p_topic) between 1 and 200, true)
     and (case p_state
       when 'pending' then num_nonnulls(p_started_at, p_closed_at, p_token_hash, p_worker_id) = 0
       when 'running' then p_closed_at is null and num_nulls(p_started_at, p_token_hash, p_worker_id) = 0
       when 'finished' then p_closed_at is not null and num_nonnulls(p_token_hash, p_worker_id) = 0 end) then
    return true;
  end if;
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
    when length(p_topic) not between 1 and 200 then 'topic_has_1_to_200_characters'
    when p_end_requested not in ('cancel', 'timeout', 'release') then 'end_requested_is_known'
    when p_mode not in ('auto', 'transaction', 'autocommit') then 'mode_is_known'
    when p_isolation not in ('read committed', 'repeatable read', 'serializable') then 'isolation_is_known'
    when p_retry_count < 0 or p_retry_delay_in_sec < 0 or p_max_retries not between 0 and 1000 then 'retries_are_counted'
    when p_timeout_in_sec < 0 then 'timeout_is_positive'
  end;
  if v_broken is not null then
    raise exception using errcode = '23514', constraint = v_broken, table = 'pg_background_tasks',
      message = format('A %s task breaks the rule "%s"', p_state, v_broken);
  end if;
  return true;
end $$;

-- What can be known of a new task to be right; null is not. Of one statement, that the planner puts where it is called.
create or replace function background_queue.is_acceptable(p_sql text, p_topic text) returns boolean language sql immutable as
$$ select btrim(p_sql, E' \t\r\n\f\x0b') <> '' and coalesce(length(p_topic) <= 200, true) $$;

-- What is wrong with a new task that is not acceptable.
create or replace function background_queue.refuse_task(p_sql text, p_topic text) returns void
language plpgsql immutable as $$
begin
  if p_sql is null or btrim(p_sql, E' \t\r\n\f\x0b') = '' then
    raise exception using errcode = 'PQ010', message = 'The SQL statement of a task is NULL or blank';
  end if;
  raise exception using errcode = 'PQ011',
    message = format('Expected a topic of 1 to 200 characters, got %s', length(p_topic));
end $$;

-- The options of a task, checked: priority, run_at, max_retries, timeout_in_sec, unique_key, mode, isolation.
create or replace function background_queue.parse_options(p_options jsonb, out priority integer, out run_at timestamptz,
  out max_retries integer, out timeout_in_sec double precision, out unique_key text, out mode text, out isolation text)
language plpgsql stable as $$
declare
  v_key text; v_value text; v_expected text;
begin
  if jsonb_typeof(p_options) <> 'object' then
    raise exception using errcode = 'PQ012', message = 'Expected the options of a task to be a JSON object';
  end if;
  for v_key, v_value in select e.key, e.value from jsonb_each_text(p_options) e loop
    v_expected := null;
    begin
      case v_key
        when 'priority' then v_expected := 'an integer'; priority := v_value::integer;
        when 'run_at' then
          -- an infinite time could not be waited for: before 17 it is an error to subtract from it
          v_expected := 'a time'; run_at := v_value::timestamptz;
          if not isfinite(run_at) then raise data_exception; end if;
        when 'max_retries' then
          v_expected := 'an integer from 0 to 1000'; max_retries := v_value::integer;
          if max_retries not between 0 and 1000 then raise data_exception; end if;
        when 'timeout_in_sec' then
          v_expected := 'a number of seconds from 0 to 2147483'; timeout_in_sec := v_value::double precision;
          if not timeout_in_sec between 0 and 2147483 then raise data_exception; end if;
        when 'unique_key' then
          -- of four bytes each they still fit into the index
          v_expected := 'a text of 1 to 500 characters'; unique_key := v_value;
          if length(v_value) not between 1 and 500 then raise data_exception; end if;
        when 'mode' then
          v_expected := 'auto, transaction or autocommit'; mode := v_value;
          if v_value not in ('auto', 'transaction', 'autocommit') then raise data_exception; end if;
        when 'isolation' then
          v_expected := 'read committed, repeatable read or serializable'; isolation := v_value;
          if v_value not in ('read committed', 'repeatable read', 'serializable') then raise data_exception; end if;
        else
          raise exception using errcode = 'PQ012', message = format('The option "%s" is not known', v_key),
            hint = 'Known are priority, run_at, max_retries, timeout_in_sec, unique_key, mode and isolation.';
      end case;
    exception when data_exception then
      raise exception using errcode = 'PQ012',
        message = format('Expected the option "%s" to be %s, got "%s"', v_key, v_expected, left(v_value, 200));
    end;
  end loop;
end $$;

-- Every row that is not given a lane (the owner's plain INSERT) gets the one of its topic; '' is no topic.
create or replace function background_queue.prepare_task() returns trigger language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
  if btrim(new.sql_statement, E' \t\r\n\f\x0b') = '' then
    raise exception using errcode = '23514', constraint = 'statement_is_not_blank', table = 'pg_background_tasks',
      message = 'The SQL statement of a task is blank';
  end if;
  new.topic := nullif(new.topic, '');
  new.lane := background_queue.lane_of(new.topic);
  return new;
end $$;

-- At the commit of whoever enqueued, once a transaction: wake supervisors, unless all will look anyway: they are busy, or
-- look all the time. A snapshot may be from before one came to rest, who looks once more 100 ms after it has said so.
create or replace function background_queue.wake() returns trigger language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
begin
  if exists (select from background_queue.supervisors where wants_wake) or (now() < clock_timestamp() - interval '100 ms'
       and current_setting('transaction_isolation') <> 'read committed') then
    perform pg_notify('background_queue', 'due');
  end if;
  return null;
end $$;

-- enqueue: one row inserted into the inbox is one task; caller is the view's default, current_user of the call.
-- A task without options, in a session without settings of ours, is one INSERT that finds lane and priority itself, as
-- place_of() does: each call and each statement more is paid for by every enqueue, and so is ON CONFLICT. Functions are
-- assigned where that will do, for a SELECT of one is a statement.
create or replace function background_queue.enqueue() returns trigger language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
declare
  v_lane text;
  v_added record;
begin
  new.topic := nullif(new.topic, '');
  if background_queue.is_acceptable(new.sql_statement, new.topic) is not true then
    perform background_queue.refuse_task(new.sql_statement, new.topic);
  end if;
  if new.options is null and coalesce(current_setting('pg_background_queue.topic_config', true), '') = ''
     and coalesce(current_setting('pg_background_queue.priority', true), '') = '' then
    v_lane := '/' || coalesce(new.topic, '');
    insert into :"schema".pg_background_tasks as t (sql_statement, topic, lane, priority, enqueued_by, enqueued_by_oid)
    values (new.sql_statement, new.topic, case when exists (select from background_queue.lanes l where l.lane in (v_lane, '')
        and (l.separate or l.lane = '' and l.delay_in_sec > 0)) then v_lane else '' end,
      coalesce((select s.value::integer from background_queue.settings s where s.lane in (v_lane, '')
        and s.name = 'priority' order by s.lane desc limit 1), 100), new.caller, new.caller_oid)
    returning t.id into new.id;
    new.existing := false;
  else
    v_added := background_queue.add_with_options(new.sql_statement, new.topic, coalesce(new.options, '{}'), new.caller,
      new.caller_oid);
    new.id := v_added.id;
    new.existing := v_added.existing;
  end if;
  if not new.existing then
    v_lane := set_config('background_queue.woken', pg_current_xact_id()::text, true);
  end if;
  return new;
end $$;

-- One task with options, or where settings of the session count. existing: a task of its unique_key was there.
create or replace function background_queue.add_with_options(p_sql text, p_topic text, p_options jsonb, p_caller text,
  p_caller_oid oid, out id bigint, out existing boolean) language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
  v_options record := background_queue.parse_options(p_options);
  v_place record := background_queue.place_of(p_topic, v_options.priority);
begin
  loop
    insert into :"schema".pg_background_tasks as t (sql_statement, topic, lane, priority, run_at, max_retries,
      timeout_in_sec, unique_key, mode, isolation, enqueued_by, enqueued_by_oid)
    values (p_sql, p_topic, v_place.lane, v_place.priority, coalesce(v_options.run_at, statement_timestamp()),
      v_options.max_retries, v_options.timeout_in_sec, v_options.unique_key, coalesce(v_options.mode, 'auto'),
      v_options.isolation, p_caller::name, p_caller_oid)
    on conflict (enqueued_by_oid, unique_key)
      where unique_key is not null and state in ('pending', 'running', 'retrying') do nothing
    returning t.id, false into id, existing;
    if found then
      return;
    end if;
    select t.id, true into id, existing from :"schema".pg_background_tasks t where t.enqueued_by_oid = p_caller_oid
      and t.unique_key = v_options.unique_key and t.state in ('pending', 'running', 'retrying');
    if found then
      return;
    end if;
  end loop;
end $$;

-- enqueue many: arrays of equal length, all or nothing; an existing unique_key is counted, not added.
create or replace function background_queue.enqueue_many() returns trigger language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
declare
  v_has_options boolean := exists (select from unnest(new.options) o where o is not null);
  v_places jsonb; -- of each topic: its lane, and the priority of its tasks
  v_bad record;
  v_part record;
  v_added record;
begin
  new.added := 0;
  for v_bad in
    select u.sql, u.topic from unnest(new.statements, new.topics, new.options) u(sql, topic, options)
    where background_queue.is_acceptable(u.sql, u.topic) is not true limit 1
  loop
    perform background_queue.refuse_task(v_bad.sql, v_bad.topic);
  end loop;
  select jsonb_object_agg(coalesce(d.topic, ''), jsonb_build_array(p.lane, p.priority)) into v_places
  from (select nullif(u, '') as topic from unnest(new.topics) u union select null) d,
    background_queue.place_of(d.topic, null) p;
  -- the first one alone: it takes the note of the wake at the commit, which the others then need not
  for v_part in select * from (values (1, 1), (2, cardinality(new.statements))) part(first, last) loop
    if v_has_options then
      v_added := background_queue.add_many_with_options(new.statements[v_part.first:v_part.last], new.topics[v_part.first:v_part.last],
        new.options[v_part.first:v_part.last], v_places, new.caller, new.caller_oid);
    else
      -- no join, no sort: the rows come in the order of the arrays
      with added as (
        insert into :"schema".pg_background_tasks as t (sql_statement, topic, lane, priority, enqueued_by, enqueued_by_oid)
        select u.sql, nullif(u.topic, ''), v_places -> coalesce(u.topic, '') ->> 0,
          (v_places -> coalesce(u.topic, '') -> 1)::integer, new.caller, new.caller_oid
        from unnest(new.statements[v_part.first:v_part.last], new.topics[v_part.first:v_part.last]) u(sql, topic)
        returning t.id)
      select min(a.id) as first_id, max(a.id) as last_id, count(*) as added into v_added from added a;
    end if;
    new.first_id := coalesce(new.first_id, v_added.first_id);
    new.last_id := coalesce(v_added.last_id, new.last_id);
    new.added := new.added + v_added.added;
    if new.added > 0 then
      perform set_config('background_queue.woken', pg_current_xact_id()::text, true);
    end if;
  end loop;
  return new;
end $$;

-- A part of a batch some of whose tasks have options. Equal options are parsed once.
create or replace function background_queue.add_many_with_options(p_statements text[], p_topics text[], p_options jsonb[],
  p_places jsonb, p_caller name, p_caller_oid oid, out first_id bigint, out last_id bigint, out added bigint)
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  with given as materialized (
    select d.options, o.* from (select distinct u as options from unnest(p_options) u where u is not null) d,
      background_queue.parse_options(d.options) o),
  added as (
    insert into :"schema".pg_background_tasks as t (sql_statement, topic, lane, priority, run_at, max_retries,
      timeout_in_sec, unique_key, mode, isolation, enqueued_by, enqueued_by_oid)
    select u.sql, nullif(u.topic, ''), p_places -> coalesce(u.topic, '') ->> 0,
      coalesce(g.priority, (p_places -> coalesce(u.topic, '') -> 1)::integer), coalesce(g.run_at, statement_timestamp()),
      g.max_retries, g.timeout_in_sec, g.unique_key, coalesce(g.mode, 'auto'), g.isolation, p_caller, p_caller_oid
    from unnest(p_statements, p_topics, p_options) with ordinality u(sql, topic, options, n)
    left join given g on g.options = u.options
    order by u.n
    on conflict (enqueued_by_oid, unique_key)
      where unique_key is not null and state in ('pending', 'running', 'retrying') do nothing
    returning t.id)
  select min(a.id), max(a.id), count(*) into first_id, last_id, added from added a;
end $$;

-- claim: the next task for this worker, or the milliseconds until one may be due (null: nothing waits). Of a task
-- wait_ms says for how long it was due, look_ms what it took to find.
-- A short transaction of its own. Per role, lane and priority only the head of the index is looked at.
-- Its commit need not be flushed: what it allows, the finish, is flushed behind it. The planner's choice is narrowed
-- to walking the index: statistics of a queue are always old, and a plan that sorts all that waits is a cliff.
create or replace function background_queue.claim(p_worker_id bigint, p_secret text,
  out task_id bigint, out token text, out sql_statement text, out topic text, out mode text, out isolation text,
  out role name, out timeout_in_sec double precision, out statements_done integer, out attempt integer,
  out wait_ms integer, out max_tasks_per_commit integer, out look_ms double precision)
language plpgsql security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off set jit = off as $$
declare
  v_worker background_queue.workers;
  v_served text[];
  v_roles oid[];
  v_queue background_queue.lanes;
  v_group record;
  v_next timestamptz;
  v_lane_is_locked boolean := false;
  v_lane background_queue.lanes;
  v_is_contended boolean := false;
  v_held text[] := '{}';
  v_held_before text[];
  v_key text;
  v_task :"schema".pg_background_tasks;
  v_settings background_queue.lanes;
  v_began timestamptz;
begin
  if current_setting('transaction_isolation') <> 'read committed' then
    -- a limit is counted behind its lock, by what others have committed until then
    raise exception using errcode = '25000',
      message = format('A claim needs READ COMMITTED, got %s', upper(current_setting('transaction_isolation')));
  end if;
  select * into v_worker from background_queue.workers w
  where w.id = p_worker_id and w.backend_pid = pg_backend_pid() and w.secret_hash = sha256(convert_to(p_secret, 'UTF8'));
  if not found then
    raise exception using errcode = 'PQ003', message = format('The worker %s is not registered', p_worker_id);
  end if;
  if not background_queue.enter_gate() then
    wait_ms := case when exists (select from background_queue.lanes l where l.lane = '' and l.max_running > 0) then 100 end;
    return;
  end if;
  select * into v_queue from background_queue.lanes l where l.lane = '';
  if v_queue.paused or v_queue.max_running = 0 then
    return;
  end if;
  select s.lanes into v_served from background_queue.supervisors s where s.id = v_worker.supervisor_id;
  v_roles := case when v_worker.sets_role then background_queue.waiting_roles() else array[v_worker.role_oid] end;
  v_began := clock_timestamp();

  loop
    v_held_before := v_held;
    for v_group in
      select * from background_queue.heads(v_roles, v_served, v_held, null)
      order by is_due desc, priority, run_at, id
    loop
      v_key := concat_ws(' ', v_group.role, v_group.priority, v_group.lane);
      if not v_group.is_due then
        v_next := least(v_next, case when v_group.is_blocked then v_group.until
          when v_key <> all (v_held) then v_group.run_at end);
        continue;
      end if;
      if v_group.lane <> '' then
        v_lane := null;
        if not v_lane_is_locked then
          insert into background_queue.lanes (lane, implicit) select v_group.lane, true
          where not exists (select from background_queue.lanes l where l.lane = v_group.lane) on conflict do nothing;
          select * into v_lane from background_queue.lanes l where l.lane = v_group.lane for no key update;
          v_lane_is_locked := true;
        else
          select * into v_lane from background_queue.lanes l where l.lane = v_group.lane for no key update skip locked;
        end if;
        -- a new statement sees what others did in this lane before its lock was ours
        if v_lane.lane is null or (select b.is_blocked from background_queue.lane_state(v_group.lane, v_served, null) b) then
          v_is_contended := true;
          continue;
        end if;
      end if;
      select * into v_task from :"schema".pg_background_tasks t
      where t.state in ('pending', 'retrying') and t.enqueued_by_oid = v_group.role and t.lane = v_group.lane
        and t.priority = v_group.priority and t.run_at <= clock_timestamp()
      order by t.run_at, t.id limit 1 for no key update skip locked;
      if not found then
        v_held := v_held || v_key;
        continue;
      end if;
      if v_group.lane = '' and background_queue.lane_of(v_task.topic) <> '' then
        -- enqueued while its topic got a limit: not from here
        update :"schema".pg_background_tasks t set lane = background_queue.lane_of(t.topic) where t.id = v_task.id;
        v_is_contended := true;
        continue;
      elsif v_task.enqueued_by <> pg_get_userbyid(v_task.enqueued_by_oid) then
        -- the role was renamed, and another may bear the name: the owner has to decide
        update :"schema".pg_background_tasks t set lane = '!' where t.id = v_task.id;
        v_is_contended := true;
        continue;
      end if;
      token := gen_random_uuid();
      update :"schema".pg_background_tasks t
      set state = 'running', worker_id = p_worker_id, token_hash = sha256(convert_to(claim.token, 'UTF8')),
        started_at = clock_timestamp(), closed_at = null, errors = null, rows_affected = null, command_tag = null
      where t.id = v_task.id;
      perform set_config('synchronous_commit', 'off', true);
      task_id := v_task.id; sql_statement := v_task.sql_statement; topic := v_task.topic; mode := v_task.mode;
      isolation := v_task.isolation; statements_done := v_task.statements_done; role := v_task.enqueued_by;
      attempt := v_task.retry_count + 1;
      wait_ms := least(extract(epoch from clock_timestamp() - v_task.run_at) * 1000, 2147483647);
      v_settings := background_queue.topic_settings(v_task.topic);
      timeout_in_sec := nullif(coalesce(v_task.timeout_in_sec, v_settings.timeout_in_sec), 0);
      max_tasks_per_commit := v_settings.max_tasks_per_commit;
      look_ms := extract(epoch from clock_timestamp() - v_began) * 1000;
      return;
    end loop;
    exit when v_held = v_held_before;
  end loop;
  v_next := case when v_held <> '{}' then least(v_next, clock_timestamp() + interval '100 ms') else v_next end;
  wait_ms := case when v_is_contended then 0
    when v_next is not null then least(greatest(ceil(extract(epoch from v_next - clock_timestamp()) * 1000), 0), 3600000) end;
end $$;

-- finish: in the transaction of the task's own SQL, or right after it for SQL that runs outside one.
-- Raises, so that nothing of a run commits whose claim is lost (PQ001) or whose end was asked for (PQ002).
create or replace function background_queue.finish(p_id bigint, p_token text, p_rows bigint, p_tag text) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan as $$
declare
  v_topic text;
begin
  update :"schema".pg_background_tasks t
  set state = 'finished', closed_at = clock_timestamp(), rows_affected = p_rows, command_tag = p_tag, errors = null,
    token_hash = null, worker_id = null, lane = ''
  where t.id = p_id and t.state = 'running' and t.token_hash = sha256(convert_to(p_token, 'UTF8'))
    and t.end_requested is null
  returning t.topic into v_topic;
  if not found then
    perform background_queue.held_task(p_id, p_token);
    raise exception using errcode = 'PQ002', message = format('The end of task %s was requested', p_id);
  end if;
  perform background_queue.cool(v_topic);
end $$;

-- finish and claim: a task, and in the same commit the next one for its worker, which so costs no transaction of its
-- own. Nothing is waited for but the task's own row: where a claim needs a lock, no task is given, and claim() finds it.
-- Behind the first of p_ids, the running one, stand those that take() gave and that have run in its transaction; the
-- n-th began at p_instants[n] and ended at p_instants[n + 1], in seconds of the epoch (null: now).
-- p_is_near: look just behind this task, not at all that waits; look_ms: what looking at all took. Without a task, wait_ms
-- null: nothing waits at all, so claim() need not look; -1: nothing was finished, for the transaction is READ ONLY and has
-- written nothing, so its end may be recorded behind it. leaves_slot: of a limited topic, to others.
create or replace function background_queue.finish_and_claim(p_ids bigint[], p_token text, p_rows bigint[], p_tags text[],
  p_instants double precision[], p_worker_id bigint, p_secret text, p_is_near boolean,
  out task_id bigint, out token text, out sql_statement text, out topic text, out mode text, out isolation text,
  out role name, out timeout_in_sec double precision, out statements_done integer, out attempt integer,
  out wait_ms integer, out max_tasks_per_commit integer, out look_ms double precision, out leaves_slot boolean)
language plpgsql security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off set jit = off as $$
declare
  v_place record := background_queue.next_place(p_ids[1], p_worker_id, p_secret, p_is_near);
  v_settings background_queue.lanes;
  v_due_at timestamptz;
  v_changed integer;
  v_followed integer := 0;
begin
  if current_setting('transaction_read_only') = 'on' and pg_current_xact_id_if_assigned() is null then
    wait_ms := -1;
    return;
  end if;
  -- One whose role was renamed, or whose topic has got a lane of its own, is for claim(). Nothing is worked out here that
  -- is dear, for it would be for each row that others hold.
  select case when t.enqueued_by = pg_get_userbyid(t.enqueued_by_oid)
      and (not v_place.has_lanes or background_queue.lane_of(t.topic) = t.lane) then t.id end,
    t.sql_statement, t.topic, t.mode, t.isolation, t.enqueued_by, t.statements_done, t.retry_count + 1, t.run_at,
    nullif(coalesce(t.timeout_in_sec, v_place.timeout_in_sec), 0), v_place.max_tasks_per_commit, v_place.leaves_slot
  into task_id, sql_statement, topic, mode, isolation, role, statements_done, attempt, v_due_at,
    timeout_in_sec, max_tasks_per_commit, leaves_slot
  from :"schema".pg_background_tasks t
  where t.state in ('pending', 'retrying') and t.enqueued_by_oid = v_place.role_oid and t.lane = v_place.lane
    and t.priority = v_place.priority and t.run_at <= clock_timestamp()
    and (t.run_at, t.id) >= (v_place.run_at, v_place.id) and t.id <> all (p_ids)
  order by t.run_at, t.id limit 1 for no key update skip locked;
  token := gen_random_uuid();
  -- both in one statement: each one that writes tasks reads and prepares their rules and indexes anew
  update :"schema".pg_background_tasks t set state = n.state, worker_id = n.worker_id, token_hash = n.token_hash, lane = n.lane,
    started_at = coalesce(n.started_at, t.started_at), closed_at = n.closed_at, errors = null,
    rows_affected = n.rows_affected, command_tag = n.command_tag
  from (values
    (p_ids[1], 'finished':::"schema".pg_background_queue_task_state, null::bigint, null::bytea, '', null::timestamptz,
      coalesce(to_timestamp(p_instants[2]), v_place.passed_at), p_rows[1], p_tags[1]),
    (finish_and_claim.task_id, 'running', p_worker_id, sha256(convert_to(finish_and_claim.token, 'UTF8')), v_place.lane,
      v_place.passed_at, null, null, null)
  ) n(id, state, worker_id, token_hash, lane, started_at, closed_at, rows_affected, command_tag)
  where t.id = n.id and (t.id = finish_and_claim.task_id
    or t.state = 'running' and t.token_hash = sha256(convert_to(p_token, 'UTF8')) and t.end_requested is null);
  get diagnostics v_changed = row_count;
  look_ms := v_place.look_ms;
  -- it may have come since the slot passed on
  wait_ms := greatest(0, least(date_part('epoch', v_place.passed_at - v_due_at) * 1000, 2147483647));
  if v_changed = 2 and cardinality(p_ids) = 1 and not v_place.has_lanes then
    return;
  end if;
  if cardinality(p_ids) > 1 then
    update :"schema".pg_background_tasks t set state = 'finished', lane = '', errors = null,
      started_at = to_timestamp(p_instants[array_position(p_ids, t.id)]),
      closed_at = coalesce(to_timestamp(p_instants[array_position(p_ids, t.id) + 1]), v_place.passed_at),
      rows_affected = p_rows[array_position(p_ids, t.id)], command_tag = p_tags[array_position(p_ids, t.id)]
    from :"schema".pg_background_tasks l
    where l.id = p_ids[1] and t.id = any (p_ids[2:]) and t.state = 'pending' and t.enqueued_by_oid = l.enqueued_by_oid
      and coalesce(t.topic, '') = coalesce(l.topic, '');
    get diagnostics v_followed = row_count;
  end if;
  if v_changed + v_followed < cardinality(p_ids) + (task_id is not null)::integer then
    perform background_queue.unfinished(p_ids, p_token);
  end if;
  if v_place.has_lanes is distinct from false then
    perform background_queue.cool((select t.topic from :"schema".pg_background_tasks t where t.id = p_ids[1]));
    v_settings := background_queue.topic_settings(topic);
    max_tasks_per_commit := v_settings.max_tasks_per_commit;
    timeout_in_sec := nullif(coalesce((select t.timeout_in_sec from :"schema".pg_background_tasks t
      where t.id = finish_and_claim.task_id), v_settings.timeout_in_sec), 0);
  end if;
  if task_id is null then
    wait_ms := case when current_setting('transaction_isolation') <> 'read committed'
      or exists (select from :"schema".pg_background_tasks t where t.state in ('pending', 'retrying')) then 0 end;
  end if;
end $$;

-- step: statement p_number of a task that runs outside a transaction is done; commits with it where that is possible.
create or replace function background_queue.step(p_id bigint, p_token text, p_number integer) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  v_task :"schema".pg_background_tasks := background_queue.held_task(p_id, p_token);
begin
  update :"schema".pg_background_tasks t set statements_done = p_number
  where t.id = p_id and t.statements_done = p_number - 1;
  if not found then
    raise exception using errcode = 'PQ001',
      message = format('Statement %s of task %s is done, so %s cannot be', v_task.statements_done, p_id, p_number);
  end if;
end $$;

-- restart: what is done cannot be built upon (a new session lacks its temporary tables, say); begin anew, and say so.
create or replace function background_queue.restart(p_id bigint, p_token text) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  v_task :"schema".pg_background_tasks := background_queue.held_task(p_id, p_token);
begin
  insert into background_queue.attempts (task_id, outcome, started_at, message)
  values (p_id, 'released', v_task.started_at, format(
    'Starting again from the first statement: statements 1 to %s left traces in the session that is gone', v_task.statements_done));
  update :"schema".pg_background_tasks t set statements_done = 0 where t.id = p_id;
end $$;

-- fail: this attempt ended badly. p_error: {sqlstate, message, detail, hint, context, position, final}; final
-- forbids a retry. An end that was asked for decides instead: cancelled, timed out, released. Returns the state.
create or replace function background_queue.fail(p_id bigint, p_token text, p_error jsonb) returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  v_task :"schema".pg_background_tasks := background_queue.held_task(p_id, p_token);
begin
  return background_queue.end_attempt(v_task, p_error);
end $$;

-- release: give the task back unharmed, no retry spent. The error says why.
create or replace function background_queue.release(p_id bigint, p_token text, p_reason text) returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  v_task :"schema".pg_background_tasks := background_queue.held_task(p_id, p_token);
begin
  v_task.end_requested := coalesce(v_task.end_requested, 'release');
  return background_queue.end_attempt(v_task, jsonb_build_object('message', p_reason));
end $$;

-- rescue: take back what a worker held whose backend is seen gone. p_is_death: its process or backend died while
-- its supervisor and the server lived and nothing had been asked to stop. A row lock means that somebody is
-- ending the run right now. Returns the ids.
create or replace function background_queue.rescue(p_worker_id bigint, p_is_death boolean, p_reason text)
returns setof bigint language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
  v_task :"schema".pg_background_tasks;
  v_limit integer;
begin
  for v_task in
    select * from :"schema".pg_background_tasks t
    where t.state = 'running' and t.worker_id is not distinct from p_worker_id for update skip locked
  loop
    if not background_queue.worker_is_gone(p_worker_id) then
      return;
    end if;
    v_limit := (background_queue.topic_settings(v_task.topic)).max_worker_deaths;
    v_task.rescues := v_task.rescues + 1;
    v_task.worker_deaths := v_task.worker_deaths + (p_is_death and v_task.end_requested is null)::integer;
    update :"schema".pg_background_tasks t set rescues = v_task.rescues, worker_deaths = v_task.worker_deaths
    where t.id = v_task.id;
    if v_task.end_requested is not null then
      perform background_queue.end_attempt(v_task, jsonb_build_object('message', p_reason));
    elsif p_is_death and v_limit > 0 and v_task.worker_deaths >= v_limit then
      perform background_queue.end_attempt(v_task, jsonb_build_object('final', true, 'message',
        format('The task killed its worker %s times; the last: %s', v_task.worker_deaths, p_reason)));
    else
      v_task.end_requested := 'release';
      perform background_queue.end_attempt(v_task, jsonb_build_object('message', p_reason, 'rescued', true));
    end if;
    return next v_task.id;
  end loop;
end $$;

-- request end: of one running attempt, by its supervisor, in a transaction that stays open until the signal to
-- the backend is delivered, so that the signal cannot reach the next task. p_token: of which attempt, null: any.
-- False: too late.
create or replace function background_queue.request_end(p_id bigint, p_worker_id bigint, p_token text,
  p_reason text, p_by name) returns boolean language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
  update :"schema".pg_background_tasks t set end_requested = p_reason, end_requested_by = p_by
  where t.id = p_id and t.state = 'running' and t.worker_id = p_worker_id
    and (p_token is null or t.token_hash = sha256(convert_to(p_token, 'UTF8')))
    and (t.end_requested is null or t.end_requested in ('release', p_reason));
  return found;
end $$;

-- cancel and retry by whoever enqueued the task, or a member of the queue's owner; recount and ensure. No row is locked for others, and
-- none that runs: the caller's transaction may stay open, and the end of the run would have to wait for it.
create or replace function background_queue.command() returns trigger language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
declare
  v_task :"schema".pg_background_tasks;
begin
  if new.verb = 'recount' then
    new.count := background_queue.recount(new.caller);
    return new;
  elsif new.verb = 'ensure' then
    perform background_queue.ensure(new.caller);
    return new;
  end if;
  new.done := false;
  select * into v_task from :"schema".pg_background_tasks t where t.id = new.task_id;
  if not found or not ((v_task.enqueued_by = new.caller and v_task.enqueued_by_oid = quote_ident(new.caller)::regrole::oid)
       or pg_has_role(new.caller, current_user, 'usage')) then
    return new;
  elsif v_task.state <> 'running' then
    begin
      select * into v_task from :"schema".pg_background_tasks t where t.id = new.task_id for update;
      if not found then
        return new;
      elsif v_task.state = 'running' then
        raise exception using errcode = 'PQ000';
      end if;
    exception when sqlstate 'PQ000' then
      null; -- claimed meanwhile; its lock is given back here
    end;
  end if;
  new.done := case new.verb
    when 'cancel' then background_queue.cancel_task(v_task, new.caller)
    when 'retry' then background_queue.retry_task(v_task) end;
  return new;
end $$;

-- cancel: a waiting task at once, whose row the caller holds; a running one is asked for, and its state tells.
create or replace function background_queue.cancel_task(p_task :"schema".pg_background_tasks, p_by name) returns boolean
language plpgsql as $$
begin
  if p_task.state in ('pending', 'retrying') then
    update :"schema".pg_background_tasks t
    set state = 'cancelled', closed_at = clock_timestamp(), lane = '',
      errors = format('Cancelled by %s before it ran', p_by)
    where t.id = p_task.id;
    return true;
  elsif p_task.state = 'running' then
    insert into background_queue.cancel_requests (task_id, requested_by) values (p_task.id, p_by) on conflict do nothing;
    perform pg_notify('background_queue', 'cancel');
    return true;
  end if;
  return false;
end $$;

-- retry: a failed or cancelled task becomes pending, its attempts start again. The caller holds the row.
create or replace function background_queue.retry_task(p_task :"schema".pg_background_tasks) returns boolean
language plpgsql as $$
declare
  v_other bigint;
begin
  if p_task.state not in ('failed', 'cancelled') then
    return false;
  end if;
  select t.id into v_other from :"schema".pg_background_tasks t where t.enqueued_by_oid = p_task.enqueued_by_oid
    and t.unique_key = p_task.unique_key and t.state in ('pending', 'running', 'retrying');
  if found then
    raise exception using errcode = 'PQ013',
      message = format('Task %s cannot be retried: task %s has its unique key', p_task.id, v_other);
  end if;
  update :"schema".pg_background_tasks t
  set state = 'pending', started_at = null, closed_at = null, errors = null, retry_count = 0, retry_delay_in_sec = 0,
    worker_deaths = 0, run_at = clock_timestamp(), lane = background_queue.lane_of(t.topic)
  where t.id = p_task.id;
  delete from background_queue.cancel_requests r where r.task_id = p_task.id;
  perform pg_notify('background_queue', 'due');
  return true;
end $$;

-- the newest closed task that is older than p_older_than, or not among the p_keep that ended last; null: none is.
-- Looks at p_keep entries of the index, whatever the table's size.
create or replace function background_queue.prune_bound(p_older_than interval, p_keep bigint, out closed_at timestamptz,
  out id bigint) language plpgsql stable
set search_path = pg_catalog, pg_temp set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off as $$
declare
  v_before timestamptz := clock_timestamp() - p_older_than;
begin
  select b.closed_at, b.id into closed_at, id from (
    (select t.closed_at, t.id from :"schema".pg_background_tasks t
     where t.state in ('failed', 'finished', 'cancelled') and t.closed_at < v_before
     order by t.closed_at desc, t.id desc limit 1)
    union all
    (select t.closed_at, t.id from :"schema".pg_background_tasks t
     where t.state in ('failed', 'finished', 'cancelled') and p_keep is not null
     order by t.closed_at desc, t.id desc offset coalesce(p_keep, 0) limit 1)) b
  order by b.closed_at desc, b.id desc limit 1;
end $$;

-- Delete up to p_limit closed tasks, the oldest first, behind p_after and up to p_last (each closed_at and id, in that
-- order); returns how many, and the last. Whoever goes on behind it does not step over what is deleted again.
create or replace function background_queue.prune_part(p_after timestamptz, p_after_id bigint, p_last timestamptz,
  p_last_id bigint, p_limit integer, out pruned integer, out closed_at timestamptz, out id bigint) language plpgsql
set search_path = pg_catalog, pg_temp set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off as $$
begin
  with gone as (
    delete from :"schema".pg_background_tasks t where t.id in (
      select c.id from :"schema".pg_background_tasks c where c.state in ('failed', 'finished', 'cancelled')
        and (c.closed_at, c.id) > (p_after, p_after_id) and (c.closed_at, c.id) <= (p_last, p_last_id)
      order by c.closed_at, c.id limit p_limit for update skip locked)
    returning t.closed_at, t.id)
  select count(*), (array_agg(g.closed_at order by g.closed_at desc, g.id desc))[1],
    (array_agg(g.id order by g.closed_at desc, g.id desc))[1]
  into pruned, closed_at, id from gone g;
end $$;

-- prune: delete up to p_limit closed tasks that the settings find too old or too many; returns how many
create or replace function background_queue.prune(p_limit integer) returns integer language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
  v_days double precision; v_keep bigint; v_bound record;
begin
  select max(v.value) filter (where v.name = 'retention_in_days')::double precision,
         max(v.value) filter (where v.name = 'retention_max_tasks')::bigint
  into v_days, v_keep from background_queue.effective_values() v where v.lane = '';
  select * into v_bound from background_queue.prune_bound(nullif(v_days, 0) * interval '1 day', nullif(v_keep, 0));
  return case when v_bound.id is null then 0 else (background_queue.prune_part('-infinity', 0, v_bound.closed_at,
    v_bound.id, p_limit)).pruned end;
end $$;
