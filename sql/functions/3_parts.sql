-- Parts of the transitions. Each is called only from there, by the owner's rights.

-- the values in force for a topic: its own, else the queue's
-- (plpgsql, here and below: it keeps plans for the session, where SQL functions are planned at each call)
create or replace function background_queue.topic_settings(p_topic text) returns background_queue.lanes
language plpgsql stable as $$
declare
  v_queue background_queue.lanes;
  v_lane background_queue.lanes;
begin
  select * into v_queue from background_queue.lanes l where l.lane = '';
  select * into v_lane from background_queue.lanes l where l.lane = '/' || coalesce(p_topic, '');
  if found then
    v_queue.max_running := coalesce(v_lane.max_running, v_queue.max_running);
    v_queue.retry_count := coalesce(v_lane.retry_count, v_queue.retry_count);
    v_queue.delay_in_sec := coalesce(v_lane.delay_in_sec, v_queue.delay_in_sec);
    v_queue.timeout_in_sec := coalesce(v_lane.timeout_in_sec, v_queue.timeout_in_sec);
    v_queue.retry_max_delay_in_sec := coalesce(v_lane.retry_max_delay_in_sec, v_queue.retry_max_delay_in_sec);
    v_queue.max_worker_deaths := coalesce(v_lane.max_worker_deaths, v_queue.max_worker_deaths);
    v_queue.max_tasks_per_commit := coalesce(v_lane.max_tasks_per_commit, v_queue.max_tasks_per_commit);
    v_queue.paused := v_queue.paused or coalesce(v_lane.paused, false);
  end if;
  return v_queue;
end $$;

-- whether a claim may take from this lane now. is_shut: not before somebody changes a setting; until: when the
-- first of its cooling slots is free again; p_ending: a running task whose slot the claim takes over
create or replace function background_queue.lane_state(p_lane text, p_served text[], p_ending bigint default null,
  out is_blocked boolean, out is_shut boolean, out until timestamptz)
language plpgsql stable as $$
declare
  v_lane background_queue.lanes;
  v_queue background_queue.lanes;
  v_busy bigint;
begin
  is_shut := p_lane = '!' or (p_served is not null and p_lane <> all (p_served));
  is_blocked := is_shut;
  if is_shut or p_lane = '' then
    return;
  end if;
  select * into v_queue from background_queue.lanes l where l.lane = '';
  select * into v_lane from background_queue.lanes l where l.lane = p_lane;
  if coalesce(v_lane.paused, false) or v_lane.max_running = 0 then
    is_shut := true;
    is_blocked := true;
    return;
  end if;
  if v_lane.max_running is null and coalesce(v_lane.delay_in_sec, v_queue.delay_in_sec) = 0 then
    return;
  end if;
  -- one statement: a run that ends between two would be missed by both
  select (select count(*) from :"schema".pg_background_tasks t
          where t.state = 'running' and coalesce(t.topic, '') = substr(p_lane, 2)
            and t.id is distinct from p_ending) + count(*), min(c.until)
  into v_busy, until from background_queue.cooling c where c.lane = p_lane and c.until > clock_timestamp();
  is_blocked := v_busy >= coalesce(v_lane.max_running, v_queue.max_running);
end $$;

-- The head of each group (role, lane, priority) of waiting tasks that a claim would look at: due, or why not yet.
-- A lane that is blocked or has a due head is left at once, so the cost grows with the lanes, not with the tasks.
-- p_held: keys of groups whose due tasks are all locked by others, maybe for long, and which are stepped over.
create or replace function background_queue.heads(p_roles oid[], p_served text[], p_held text[],
  p_ending bigint default null)
returns table (role oid, lane text, priority integer, run_at timestamptz, id bigint, is_blocked boolean,
  is_shut boolean, until timestamptz, is_due boolean)
language plpgsql stable as $$
declare
  v_passed_priority integer;
begin
  foreach role in array p_roles loop
    select t.lane, t.priority, t.run_at, t.id into lane, priority, run_at, id from :"schema".pg_background_tasks t
    where t.state in ('pending', 'retrying') and t.enqueued_by_oid = heads.role
    order by t.lane, t.priority, t.run_at, t.id limit 1;
    while found loop
      select s.is_blocked, s.is_shut, s.until into is_blocked, is_shut, until
      from background_queue.lane_state(lane, p_served, p_ending) s;
      is_due := not is_blocked and run_at <= clock_timestamp() and concat_ws(' ', role, priority, lane) <> all (p_held);
      return next;
      v_passed_priority := case when is_blocked or is_due then 2147483647 else priority end;
      select t.lane, t.priority, t.run_at, t.id into lane, priority, run_at, id from :"schema".pg_background_tasks t
      where t.state in ('pending', 'retrying') and t.enqueued_by_oid = heads.role
        and (t.lane, t.priority) > (heads.lane, v_passed_priority)
      order by t.lane, t.priority, t.run_at, t.id limit 1;
    end loop;
  end loop;
end $$;

-- Where a worker that ends a task may take its next one with no lock: role, lane, priority, and from which run_at and
-- id on. Lane null: nowhere; p_is_near null: none is wanted. As one of the worker's tasks ends when the next begins, no
-- limit is passed that was kept before. passed_at: the instant at which the slot passes on, from before any setting is
-- read: a setting that this does not see yet is committed later. topic: of the task that ends; has_lanes: topics may have
-- values of their own; leaves_slot: the one that it has in a limited topic is not taken over.
create or replace function background_queue.next_place(p_ending bigint, p_worker_id bigint, p_secret text, p_is_near boolean,
  out lane text, out role_oid oid, out priority integer, out run_at timestamptz, out id bigint, out topic text,
  out has_lanes boolean, out timeout_in_sec double precision, out max_tasks_per_commit integer, out passed_at timestamptz,
  out look_ms double precision, out leaves_slot boolean)
language plpgsql as $$
declare
  v_roles oid[]; v_served text[]; v_is_shut boolean; v_has_better boolean;
  v_own_lane text; -- null: its slot has to cool
begin
  passed_at := clock_timestamp();
  if p_is_near is null or current_setting('transaction_isolation') <> 'read committed' then
    return;
  end if;
  select case when not w.sets_role then array[w.role_oid] end, s.lanes, t.enqueued_by_oid, t.lane, t.lane, t.topic, t.priority,
    t.run_at, t.id, q.timeout_in_sec, q.max_tasks_per_commit,
    q.paused or q.max_running < (select count(*) from background_queue.workers),
    q.delay_in_sec > 0 or exists (select from background_queue.lanes l where l.lane > ''),
    exists (select from :"schema".pg_background_tasks b where b.state in ('pending', 'retrying')
      and b.enqueued_by_oid = t.enqueued_by_oid and b.lane = t.lane and b.priority < t.priority)
  into v_roles, v_served, role_oid, lane, v_own_lane, topic, priority, run_at, id, timeout_in_sec, max_tasks_per_commit,
    v_is_shut, has_lanes, v_has_better
  from background_queue.workers w join background_queue.supervisors s on s.id = w.supervisor_id
    join background_queue.lanes q on q.lane = '' join :"schema".pg_background_tasks t on t.id = p_ending
  where w.id = p_worker_id and w.backend_pid = pg_backend_pid() and w.secret_hash = sha256(convert_to(p_secret, 'UTF8'));
  if p_is_near and lane = '' and not (v_has_better or v_is_shut) and v_served is null then
    return;
  elsif v_is_shut is distinct from false then
    lane := null;
    return;
  elsif lane <> '' and (background_queue.topic_settings(topic)).delay_in_sec > 0 then
    v_own_lane := null;
  end if;
  if p_is_near and not (v_has_better and background_queue.is_overtaken(role_oid, v_own_lane, priority))
     and (v_own_lane = '' and v_served is null
       or v_own_lane <> '' and not (background_queue.lane_state(v_own_lane, v_served, p_ending)).is_blocked) then
    return;
  end if;
  select h.role, h.lane, h.priority, h.run_at, h.id into role_oid, lane, priority, run_at, id
  from background_queue.heads(coalesce(v_roles, background_queue.waiting_roles()), v_served, '{}', p_ending) h
  where h.is_due order by h.priority, h.run_at, h.id limit 1;
  look_ms := date_part('epoch', clock_timestamp() - passed_at) * 1000;
  if lane <> '' and lane is distinct from v_own_lane then
    lane := null;
  end if;
  leaves_slot := v_own_lane <> '' and lane <> v_own_lane;
end $$;

-- Whether a task of a better priority is due in a lane; also true where more than three such priorities would have to be
-- looked at.
create or replace function background_queue.is_overtaken(p_role oid, p_lane text, p_priority integer) returns boolean
language plpgsql stable as $$
declare
  v_head record;
  v_passed bigint := -2147483649;
begin
  for i in 1..3 loop
    select t.priority, t.run_at into v_head from :"schema".pg_background_tasks t
    where t.state in ('pending', 'retrying') and t.enqueued_by_oid = p_role and t.lane = p_lane
      and t.priority < p_priority and t.priority > v_passed
    order by t.priority, t.run_at, t.id limit 1;
    if not found then
      return false;
    elsif v_head.run_at <= clock_timestamp() then
      return true;
    end if;
    v_passed := v_head.priority;
  end loop;
  return true;
end $$;

-- Every end of a run keeps the topic's slot for its delay.
create or replace function background_queue.cool(p_topic text) returns void language plpgsql as $$
declare
  v_delay double precision;
begin
  -- most queues have no delay at all
  if exists (select from background_queue.lanes l where l.delay_in_sec > 0) then
    v_delay := (background_queue.topic_settings(p_topic)).delay_in_sec;
    if v_delay > 0 then
      insert into background_queue.cooling
      values ('/' || coalesce(p_topic, ''), clock_timestamp() + v_delay * interval '1 second');
    end if;
  end if;
end $$;

-- the running task whose claim is shown, its row locked; PQ001 if the claim is lost
create or replace function background_queue.held_task(p_id bigint, p_token text)
returns :"schema".pg_background_tasks language plpgsql as $$
declare
  v_task :"schema".pg_background_tasks;
begin
  select * into v_task from :"schema".pg_background_tasks t
  where t.id = p_id and t.state = 'running' and t.token_hash = sha256(convert_to(p_token, 'UTF8')) for update;
  if not found then
    raise exception using errcode = 'PQ001', message = format('The claim on task %s was lost', p_id);
  end if;
  return v_task;
end $$;

-- the errors column: what a person reads
create or replace function background_queue.error_text(p_error jsonb) returns text language sql immutable as $$
  select concat_ws(E'\n', coalesce('ERROR ' || (p_error ->> 'sqlstate') || ': ', '') || (p_error ->> 'message'),
    'DETAIL: ' || (p_error ->> 'detail'), 'HINT: ' || (p_error ->> 'hint'), 'CONTEXT: ' || (p_error ->> 'context'),
    'POSITION: ' || (p_error ->> 'position'))
$$;

-- End a run that did not finish, as the request, the error and the retries left decide; returns the new state.
create or replace function background_queue.end_attempt(p_task :"schema".pg_background_tasks, p_error jsonb) returns text
language plpgsql as $$
declare
  v_settings background_queue.lanes := background_queue.topic_settings(p_task.topic);
  v_error jsonb := p_error;
  v_retries integer := coalesce(p_task.max_retries, v_settings.retry_count);
  v_delay integer;
  v_outcome text;
begin
  if p_task.end_requested = 'timeout' then
    v_error := jsonb_build_object('sqlstate', '57014', 'message', format('Timed out after %s s',
      coalesce(p_task.timeout_in_sec, v_settings.timeout_in_sec)), 'context', p_error ->> 'context');
  elsif p_task.end_requested = 'cancel' then
    v_error := jsonb_build_object('message', format('Cancelled by %s while it ran', p_task.end_requested_by));
  end if;
  v_outcome := case
    when p_task.end_requested = 'cancel' then 'cancelled'
    when p_task.end_requested = 'release' then case when p_error ? 'rescued' then 'rescued' else 'released' end
    when p_task.retry_count < v_retries and not coalesce((v_error ->> 'final')::boolean, false) then 'retrying'
    else 'failed' end;
  v_delay := least(power(2, least(p_task.retry_count + 1, 30)), v_settings.retry_max_delay_in_sec);
  insert into background_queue.attempts (task_id, outcome, started_at, sqlstate, message, detail, hint, context,
    position, host, worker_pid, backend_pid)
  select p_task.id, v_outcome, p_task.started_at, v_error ->> 'sqlstate', v_error ->> 'message', v_error ->> 'detail',
    v_error ->> 'hint', v_error ->> 'context', (v_error ->> 'position')::integer, w.host, w.pid, w.backend_pid
  from (select) one left join background_queue.workers w on w.id = p_task.worker_id;
  update :"schema".pg_background_tasks t set
    state = (case when v_outcome in ('rescued', 'released') then 'pending' else v_outcome end)
      :::"schema".pg_background_queue_task_state,
    started_at = case when v_outcome not in ('rescued', 'released') then t.started_at end,
    closed_at = case when v_outcome in ('failed', 'cancelled') then clock_timestamp() end,
    errors = case when v_outcome not in ('rescued', 'released') then background_queue.error_text(v_error) end,
    retry_count = t.retry_count + (v_outcome = 'retrying')::integer,
    retry_delay_in_sec = case when v_outcome = 'retrying' then v_delay else t.retry_delay_in_sec end,
    run_at = case when v_outcome = 'retrying' then clock_timestamp() + v_delay * interval '1 second' else t.run_at end,
    lane = case when v_outcome in ('failed', 'cancelled') then '' else background_queue.lane_of(t.topic) end,
    token_hash = null, worker_id = null, end_requested = null, end_requested_by = null
  where t.id = p_task.id;
  delete from background_queue.cancel_requests r where r.task_id = p_task.id and v_outcome in ('failed', 'cancelled');
  perform background_queue.cool(p_task.topic);
  return case when v_outcome in ('rescued', 'released') then 'pending' else v_outcome end;
end $$;

-- roles that have waiting tasks
create or replace function background_queue.waiting_roles() returns oid[] language sql stable as $$
  with recursive r as (
    (select t.enqueued_by_oid as role from :"schema".pg_background_tasks t
     where t.state in ('pending', 'retrying') order by 1 limit 1)
    union all
    select (select t.enqueued_by_oid from :"schema".pg_background_tasks t
            where t.state in ('pending', 'retrying') and t.enqueued_by_oid > r.role order by 1 limit 1)
    from r where r.role is not null)
  select coalesce(array_agg(r.role), '{}') from r where r.role is not null
$$;

-- Enter the claim gate; false: the queue is full, or look again. While no more workers exist than may run at
-- once, claims pass side by side; else one at a time, counting.
create or replace function background_queue.enter_gate() returns boolean language plpgsql as $$
begin
  if (select count(*) from background_queue.workers) <= (select l.max_running from background_queue.lanes l where l.lane = '') then
    lock table background_queue.claim_gate in row share mode;
    return (select count(*) from background_queue.workers) <=
           (select l.max_running from background_queue.lanes l where l.lane = '');
  end if;
  lock table background_queue.claim_gate in exclusive mode;
  return (select count(*) from :"schema".pg_background_tasks t where t.state = 'running') <
         (select l.max_running from background_queue.lanes l where l.lane = '');
end $$;

-- Evidence that a backend cannot commit any more: the server was started anew, or nobody bears its pid, or
-- somebody else does. Present and unreadable counts as alive.
create or replace function background_queue.backend_is_gone(p_pid integer, p_role_oid oid,
  p_backend_started_at timestamptz, p_server_started_at timestamptz) returns boolean language plpgsql volatile as $$
begin
  perform pg_stat_clear_snapshot();
  return p_server_started_at <> pg_postmaster_start_time() or not exists (
    select from pg_stat_activity a
    where a.pid = p_pid and a.usesysid = p_role_oid
      and a.datid = (select d.oid from pg_database d where d.datname = current_database())
      and (a.backend_start is null or p_backend_started_at is null or a.backend_start = p_backend_started_at));
end $$;

-- null, the worker of a row that nobody claimed, is gone; so is one whose backend a later worker has: a pooler hands
-- a backend on only when the session before has ended
create or replace function background_queue.worker_is_gone(p_worker_id bigint) returns boolean language plpgsql volatile as $$
declare
  v_worker background_queue.workers;
begin
  select * into v_worker from background_queue.workers w where w.id = p_worker_id;
  return not found or background_queue.backend_is_gone(v_worker.backend_pid, v_worker.role_oid,
    v_worker.backend_started_at, v_worker.server_started_at)
    or exists (select from background_queue.workers l where l.id > p_worker_id and l.backend_pid = v_worker.backend_pid
      and l.backend_started_at = v_worker.backend_started_at and l.server_started_at = v_worker.server_started_at);
end $$;

-- A task deleted or truncated takes its attempts and notices with it.
create or replace function background_queue.forget_attempts() returns trigger language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
begin
  if tg_op = 'TRUNCATE' then
    delete from background_queue.attempts;
    delete from background_queue.notices;
    delete from background_queue.cancel_requests;
  else
    delete from background_queue.attempts a using gone where a.task_id = gone.id;
    delete from background_queue.notices n using gone where n.task_id = gone.id;
  end if;
  return null;
end $$;
