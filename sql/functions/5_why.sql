-- Why a task does not run: the rules of the claim, asked and not obeyed. Nothing here changes anything.
-- Facts are {state, topic, role, reason, evidence}; ids in them are texts, for JSON has no 64-bit integers.

-- A row inserted here is a question, its facts the answer. The caller is recorded as in the inbox: who may only
-- enqueue learns of others' tasks no more than their number.
create or replace view background_queue.questions as
  select null::bigint as task_id, null::jsonb as facts, null::name as caller;
alter view background_queue.questions alter column caller set default current_user;

-- Facts about one task, null if the caller sees no such task.
create or replace function background_queue.why() returns trigger language plpgsql security definer
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan set enable_seqscan = off
set enable_bitmapscan = off set enable_sort = off set jit = off as $$
declare
  v_sees_all boolean := pg_has_role(new.caller, current_user, 'usage');
  v_caller oid := quote_ident(new.caller)::regrole::oid;
  v_task :"schema".pg_background_tasks;
  v_answer record;
begin
  new.facts := null;
  select * into v_task from :"schema".pg_background_tasks t where t.id = new.task_id
    and (v_sees_all or (t.enqueued_by = new.caller and t.enqueued_by_oid = v_caller));
  if found then
    v_caller := case when not v_sees_all then v_caller end;
    if v_task.state = 'running' then
      select * into v_answer from background_queue.why_running(v_task, v_caller);
    elsif v_task.state in ('pending', 'retrying') then
      select * into v_answer from background_queue.why_waiting(v_task, v_caller);
    else
      select * into v_answer from background_queue.why_closed(v_task);
    end if;
    new.facts := jsonb_build_object('state', v_task.state, 'topic', v_task.topic, 'role', v_task.enqueued_by,
      'reason', v_answer.reason, 'evidence', v_answer.evidence);
  end if;
  return new;
end $$;

do $$
begin
  if not exists (select from pg_trigger g where g.tgname = 'questions_insert') then
    create trigger questions_insert instead of insert on background_queue.questions
      for each row execute function background_queue.why();
  end if;
end $$;

-- a closed task: when, and who ended it; of a run that finished no worker is kept
create or replace function background_queue.why_closed(p_task :"schema".pg_background_tasks, out reason text, out evidence jsonb)
language sql stable as $$
  select 'closed', jsonb_build_object('started_at', p_task.started_at, 'closed_at', p_task.closed_at, 'role', p_task.enqueued_by,
    'errors', p_task.errors, 'worker', (
      select jsonb_build_object('host', a.host, 'pid', a.worker_pid, 'backend_pid', a.backend_pid)
      from background_queue.attempts a where a.task_id = p_task.id and a.host is not null
        and p_task.state in ('failed', 'cancelled') and a.outcome = p_task.state::text
      order by a.id desc limit 1))
$$;

-- a running task: where, and what its backend waits for
create or replace function background_queue.why_running(p_task :"schema".pg_background_tasks, p_caller oid,
  out reason text, out evidence jsonb) language plpgsql volatile as $$
declare
  v_worker background_queue.workers;
  v_blockers integer[] := '{}';
begin
  select * into v_worker from background_queue.workers w where w.id = p_task.worker_id;
  evidence := jsonb_build_object('started_at', p_task.started_at, 'attempt', p_task.retry_count + 1,
    'worker', case when v_worker.id is not null then jsonb_build_object('id', v_worker.id::text, 'host', v_worker.host,
      'pid', v_worker.pid, 'backend_pid', v_worker.backend_pid) end,
    'worker_is_gone', background_queue.worker_is_gone(p_task.worker_id),
    'end_requested', coalesce(p_task.end_requested,
      (select 'cancel' from background_queue.cancel_requests r where r.task_id = p_task.id)));
  if not background_queue.worker_is_gone(p_task.worker_id) then
    v_blockers := pg_blocking_pids(v_worker.backend_pid);
  end if;
  reason := case when v_blockers = '{}' then 'running' else 'lock' end;
  if reason = 'lock' then
    evidence := evidence || jsonb_build_object('blocked_by', background_queue.holders(v_blockers, p_caller), 'waits_for', (
      select jsonb_build_object('lock', l.locktype, 'mode', l.mode, 'relation', l.relation::regclass::text)
      from pg_locks l where l.pid = v_worker.backend_pid and not l.granted limit 1));
  end if;
end $$;

-- who these backends are; 0 is a prepared transaction. p_caller: whose tasks alone may be named, null: all
create or replace function background_queue.holders(p_pids integer[], p_caller oid) returns jsonb language sql volatile as $$
  select coalesce(jsonb_agg(jsonb_build_object('pid', h.pid, 'role', a.usename, 'application_name', a.application_name,
    'state', a.state, 'since', a.xact_start, 'task_id', t.id::text)), '[]')
  from (select distinct p as pid from unnest(p_pids) p) h
  left join pg_stat_activity a on a.pid = h.pid
  left join background_queue.workers w on w.backend_pid = h.pid and not background_queue.worker_is_gone(w.id)
  left join :"schema".pg_background_tasks t on t.worker_id = w.id and t.state = 'running'
    and (p_caller is null or t.enqueued_by_oid = p_caller)
$$;

-- A waiting task: the first rule that holds it back. First what only a person can change or what has a time, then
-- who could run it, then what passes by itself.
create or replace function background_queue.why_waiting(p_task :"schema".pg_background_tasks, p_caller oid,
  out reason text, out evidence jsonb) language plpgsql volatile as $$
declare
  v_lane text := case when p_task.lane = '!' then '!' else background_queue.lane_of(p_task.topic) end;
  v_queue background_queue.lanes;
  v_topic background_queue.lanes := background_queue.topic_settings(p_task.topic);
  v_state record;
begin
  select * into v_queue from background_queue.lanes l where l.lane = '';
  select * into v_state from background_queue.lane_state(v_lane, null);
  if v_lane = '!' or p_task.enqueued_by <> pg_get_userbyid(p_task.enqueued_by_oid) then
    reason := 'no-worker-for-role';
    evidence := jsonb_build_object('topic', p_task.topic, 'role', p_task.enqueued_by, 'cause', 'renamed', 'supervisors',
      '[]'::jsonb, 'is_known', exists (select from pg_roles r where r.rolname = p_task.enqueued_by));
  elsif p_task.run_at > clock_timestamp() then
    reason := case p_task.state when 'retrying' then 'retry-due' else 'not-due' end;
    evidence := jsonb_build_object('run_at', p_task.run_at);
    if reason = 'retry-due' then
      evidence := evidence || jsonb_build_object('retry_count', p_task.retry_count, 'retries',
        coalesce(p_task.max_retries, v_topic.retry_count), 'errors', p_task.errors);
    end if;
  elsif v_topic.paused then
    reason := 'paused';
    evidence := jsonb_build_object('topic', case when not v_queue.paused then p_task.topic end, 'whole_queue', v_queue.paused);
  elsif v_queue.max_running = 0 then
    reason := 'global-limit';
    evidence := jsonb_build_object('limit', 0, 'running', background_queue.active());
  elsif v_state.is_shut then
    reason := 'topic-limit';
    evidence := background_queue.topic_load(p_task.topic, p_caller);
  else
    select w.reason, w.evidence into reason, evidence from background_queue.why_unserved(p_task, v_lane) w;
    if reason is null and v_state.is_blocked then
      evidence := background_queue.topic_load(p_task.topic, p_caller);
      reason := case when (evidence ->> 'running')::integer < (evidence ->> 'limit')::integer then 'delay' else 'topic-limit' end;
    elsif reason is null then
      select w.reason, w.evidence into reason, evidence from background_queue.why_next(p_task, v_lane, p_caller) w;
    end if;
  end if;
end $$;

-- running tasks of the queue
create or replace function background_queue.active() returns integer language sql volatile as $$
  select count(*)::integer from :"schema".pg_background_tasks t where t.state = 'running'
$$;

-- what fills a topic: running tasks, up to 20 of them by id, and slots that rest after a run
create or replace function background_queue.topic_load(p_topic text, p_caller oid) returns jsonb language sql volatile as $$
  with running as (
    select t.id, t.started_at, p_caller is null or t.enqueued_by_oid = p_caller as is_shown
    from :"schema".pg_background_tasks t where t.state = 'running' and coalesce(t.topic, '') = coalesce(p_topic, '')),
  settings as (select * from background_queue.topic_settings(p_topic))
  select jsonb_build_object('topic', p_topic, 'limit', s.max_running, 'running', (select count(*) from running),
    'tasks', coalesce((select jsonb_agg(jsonb_build_object('task_id', r.id::text, 'since', r.started_at) order by r.id)
      from (select * from running where running.is_shown order by running.id limit 20) r), '[]'),
    'delay_in_sec', s.delay_in_sec,
    'resting', (select count(*) from background_queue.cooling c
      where c.lane = background_queue.topic_lane(p_topic) and c.until > clock_timestamp()),
    'until', (background_queue.lane_state(background_queue.topic_lane(p_topic), null)).until)
  from settings s
$$;

-- whether a supervisor's workers may run tasks of this role: by SET ROLE, or by a login that was not refused
create or replace function background_queue.may_run(p_supervisor background_queue.supervisors, p_role oid) returns boolean
language sql stable as $$
  select exists (select from background_queue.workers w where w.supervisor_id = p_supervisor.id and (w.sets_role or w.role_oid = p_role))
    or pg_get_userbyid(p_role) <> all (p_supervisor.refused)
      and exists (select from pg_roles r where r.oid = p_role and r.rolcanlogin)
$$;

-- supervisors whose backend is there
create or replace function background_queue.live_supervisors() returns setof background_queue.supervisors language sql volatile as $$
  select s.* from background_queue.supervisors s
  where not background_queue.backend_is_gone(s.backend_pid, s.role_oid, s.backend_started_at, s.server_started_at)
$$;

-- who is missing: a supervisor, one for the lane, one for the role; reason null: none is
create or replace function background_queue.why_unserved(p_task :"schema".pg_background_tasks, p_lane text,
  out reason text, out evidence jsonb) language plpgsql volatile as $$
declare
  v_live background_queue.supervisors[] := array(select s from background_queue.live_supervisors() s);
  v_can_login boolean;
begin
  if v_live = '{}' then
    reason := 'no-supervisor';
    evidence := jsonb_build_object('supervisors', '[]'::jsonb, 'last_seen_at', (select max(s.seen_at) from background_queue.supervisors s));
    return;
  end if;
  if not exists (select from unnest(v_live) s where not (background_queue.lane_state(p_lane, s.lanes)).is_shut) then
    reason := 'no-worker-for-topic';
  elsif not exists (select from unnest(v_live) s where not (background_queue.lane_state(p_lane, s.lanes)).is_shut
      and background_queue.may_run(s, p_task.enqueued_by_oid)) then
    reason := 'no-worker-for-role';
    v_can_login := (select r.rolcanlogin from pg_roles r where r.oid = p_task.enqueued_by_oid);
  end if;
  if reason is not null then
    evidence := jsonb_build_object('topic', p_task.topic, 'role', p_task.enqueued_by,
      'cause', case when reason = 'no-worker-for-role' then case when v_can_login then 'refused' else 'nologin' end end,
      'supervisors', (select jsonb_agg(jsonb_build_object('host', s.host, 'pid', s.pid,
        'topics', (select jsonb_agg(substr(l, 2) order by l) from unnest(s.lanes) l)) order by s.id) from unnest(v_live) s));
  end if;
end $$;

-- nothing holds the task itself back: a lock on its row, tasks that go first, the queue's limit, or the workers' pace
create or replace function background_queue.why_next(p_task :"schema".pg_background_tasks, p_lane text, p_caller oid,
  out reason text, out evidence jsonb) language plpgsql volatile as $$
declare
  v_most constant integer := 1000;
  v_able background_queue.supervisors[] := array(select s from background_queue.live_supervisors() s
    where not (background_queue.lane_state(p_lane, s.lanes)).is_shut and background_queue.may_run(s, p_task.enqueued_by_oid));
  v_holders integer[];
  v_ahead integer;
begin
  -- whoever has locked a row stands in its xmax
  v_holders := array(select l.pid from pg_locks l, :"schema".pg_background_tasks t where t.id = p_task.id
    and l.locktype = 'transactionid' and l.granted and l.transactionid = t.xmax and l.pid is distinct from pg_backend_pid());
  if v_holders <> '{}' then
    reason := 'lock';
    evidence := jsonb_build_object('blocked_by', background_queue.holders(v_holders, p_caller), 'waits_for', null);
    return;
  end if;
  v_ahead := background_queue.count_ahead(p_task, case when exists (select from background_queue.workers w, unnest(v_able) s
      where w.supervisor_id = s.id and w.sets_role) then background_queue.waiting_roles() else array[p_task.enqueued_by_oid] end,
    -- the lanes of them all; null, which is all lanes, where one serves all
    (select array_agg(distinct l) from unnest(v_able) s, unnest(s.lanes) l
     where not exists (select from unnest(v_able) a where a.lanes is null)), v_most + 1);
  evidence := jsonb_build_object('ahead', least(v_ahead, v_most), 'more', v_ahead > v_most, 'running', background_queue.active(),
    'limit', (select l.max_running from background_queue.lanes l where l.lane = ''), 'workers', count(*), 'busy', count(t.id))
  from background_queue.workers w join unnest(v_able) s on s.id = w.supervisor_id
  left join :"schema".pg_background_tasks t on t.state = 'running' and t.worker_id = w.id;
  reason := case when v_ahead = 0 and (evidence ->> 'running')::integer >= (evidence ->> 'limit')::integer
    then 'global-limit' else 'ahead' end;
end $$;

-- due tasks that these roles' workers would take first, counted up to p_most: of the lanes that a claim may take from
-- now, what stands before the task by priority, due time and id
create or replace function background_queue.count_ahead(p_task :"schema".pg_background_tasks, p_roles oid[], p_served text[],
  p_most integer) returns integer language plpgsql volatile set plan_cache_mode = force_generic_plan set enable_seqscan = off
set enable_bitmapscan = off set enable_sort = off set jit = off as $$
declare
  v_head record;
  v_priority integer;
  v_count integer := 0;
begin
  for v_head in
    select h.role, h.lane, h.priority from background_queue.heads(p_roles, p_served, '{}') h
    where h.is_due and (h.priority, h.run_at, h.id) < (p_task.priority, p_task.run_at, p_task.id)
  loop
    v_priority := v_head.priority;
    while v_priority <= p_task.priority and v_count < p_most loop
      v_count := v_count + (select count(*) from (
        select from :"schema".pg_background_tasks t where t.state in ('pending', 'retrying') and t.enqueued_by_oid = v_head.role
          and t.lane = v_head.lane and t.priority = v_priority and v_priority < p_task.priority and t.run_at <= clock_timestamp()
        union all
        select from :"schema".pg_background_tasks t where t.state in ('pending', 'retrying') and t.enqueued_by_oid = v_head.role
          and t.lane = v_head.lane and t.priority = v_priority and v_priority = p_task.priority and t.run_at < p_task.run_at
        union all
        select from :"schema".pg_background_tasks t where t.state in ('pending', 'retrying') and t.enqueued_by_oid = v_head.role
          and t.lane = v_head.lane and t.priority = v_priority and v_priority = p_task.priority and t.run_at = p_task.run_at
          and t.id < p_task.id
        limit p_most - v_count) before);
      v_priority := (select t.priority from :"schema".pg_background_tasks t
        where t.state in ('pending', 'retrying') and t.enqueued_by_oid = v_head.role and t.lane = v_head.lane
          and t.priority > v_priority order by t.priority, t.run_at, t.id limit 1);
    end loop;
  end loop;
  return v_count;
end $$;
