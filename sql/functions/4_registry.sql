-- Supervisors and workers: who is registered, who is dead, what a supervisor has to know once a second.

-- p_previous_id: the same supervisor before it lost its connection; its workers are taken over
create or replace function background_queue.register_supervisor(p_host text, p_pid integer, p_version text,
  p_concurrency integer, p_lanes text[], p_previous_id bigint) returns bigint language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
  v_id bigint;
begin
  insert into background_queue.supervisors (host, pid, version, concurrency, lanes, role, role_oid, backend_pid,
    backend_started_at)
  select p_host, p_pid, p_version, p_concurrency, p_lanes, a.usename, a.usesysid, a.pid, a.backend_start
  from pg_stat_activity a where a.pid = pg_backend_pid()
  returning id into v_id;
  update background_queue.workers w set supervisor_id = v_id where w.supervisor_id = p_previous_id;
  delete from background_queue.supervisors s where s.id = p_previous_id;
  perform background_queue.sync_lanes();
  return v_id;
end $$;

-- A worker counts from here on. The gate keeps claims out that were allowed while it was not counted.
create or replace function background_queue.register_worker(p_supervisor_id bigint, p_host text, p_pid integer,
  p_role name, p_sets_role boolean, p_backend_pid integer, p_backend_started_at timestamptz,
  p_server_started_at timestamptz, p_secret text) returns bigint language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
  v_id bigint;
begin
  lock table background_queue.claim_gate in exclusive mode;
  insert into background_queue.workers (supervisor_id, host, pid, role, role_oid, sets_role, backend_pid,
    backend_started_at, server_started_at, secret_hash)
  values (p_supervisor_id, p_host, p_pid, p_role, quote_ident(p_role)::regrole::oid, p_sets_role, p_backend_pid,
    p_backend_started_at, p_server_started_at, sha256(convert_to(p_secret, 'UTF8')))
  returning id into v_id;
  return v_id;
end $$;

-- Rescue what a dead worker held and forget it; null: its backend is still there. p_is_death as in rescue().
create or replace function background_queue.bury_worker(p_worker_id bigint, p_is_death boolean, p_reason text)
returns bigint[] language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
  v_rescued bigint[];
begin
  if not background_queue.worker_is_gone(p_worker_id) then
    return null;
  end if;
  v_rescued := array(select background_queue.rescue(p_worker_id, p_is_death and not exists (
    select from background_queue.workers w where w.id = p_worker_id and w.supervisor_id = 0), p_reason));
  -- here and below: who buries the same one in a transaction that stays open keeps nobody waiting
  delete from background_queue.workers w
  where w.id = (select b.id from background_queue.workers b where b.id = p_worker_id for update skip locked) and not exists (
    select from :"schema".pg_background_tasks t where t.state = 'running' and t.worker_id = p_worker_id);
  if v_rescued <> '{}' then
    perform pg_notify('background_queue', 'due');
  end if;
  return v_rescued;
end $$;

-- How long a supervisor that tells once a second that it lives may be silent (frozen, its host gone without a word)
-- before others end its workers' backends. Too short is no danger, only a nuisance: what ran runs again.
create or replace function background_queue.stale_after() returns interval language sql immutable as $$
  select interval '5 s'
$$;

-- Bury the workers of supervisors that are gone or have not been seen for p_stale; the backend's absence stays the
-- only proof. What has no worker at all is rescued too. Returns the ids that were rescued.
create or replace function background_queue.rescue_orphans(p_stale interval, out rescued bigint[], out pruned integer)
language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
  v_worker record;
  v_ids bigint[];
begin
  pruned := 0;
  rescued := array(
    select background_queue.rescue(o.worker_id, false, 'No worker was registered for the task')
    from (select distinct t.worker_id from :"schema".pg_background_tasks t where t.state = 'running'
          and not exists (select from background_queue.workers w where w.id = t.worker_id)) o);
  for v_worker in
    select w.id, w.backend_pid, coalesce(s.seen_at, w.registered_at) < clock_timestamp() - p_stale as is_stale
    from background_queue.workers w left join background_queue.supervisors s on s.id = w.supervisor_id
    where s.id is null or s.seen_at < clock_timestamp() - p_stale
      or background_queue.backend_is_gone(s.backend_pid, s.role_oid, s.backend_started_at, s.server_started_at)
  loop
    v_ids := background_queue.bury_worker(v_worker.id, false, 'The worker''s supervisor or host was gone');
    if v_ids is null then
      -- a supervisor that only lost its connection comes back for its workers; one that we end is no death of its
      -- task, and is taken from its supervisor, which could not know
      if v_worker.is_stale and background_queue.try_terminate(v_worker.backend_pid) then
        update background_queue.workers w set supervisor_id = 0 where w.id = v_worker.id;
      end if;
    else
      rescued := rescued || v_ids;
      pruned := pruned + 1;
    end if;
  end loop;
  delete from background_queue.supervisors where id in (
    select s.id from background_queue.supervisors s
    where background_queue.backend_is_gone(s.backend_pid, s.role_oid, s.backend_started_at, s.server_started_at)
      and not exists (select from background_queue.workers w where w.supervisor_id = s.id) for update skip locked);
end $$;

-- End a backend whose client is dead, where we may; without the right its own check of the connection ends it.
create or replace function background_queue.try_terminate(p_backend_pid integer) returns boolean language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
  return pg_terminate_backend(p_backend_pid);
exception when insufficient_privilege then
  return false;
end $$;

-- Cancel what a worker's backend runs, where we may; false: without the right, or it is gone.
create or replace function background_queue.try_cancel(p_worker_id bigint) returns boolean language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
  return coalesce((select pg_cancel_backend(w.backend_pid) from background_queue.workers w
    where w.id = p_worker_id and not background_queue.worker_is_gone(w.id)), false);
exception when insufficient_privilege then
  return false;
end $$;

-- Cancel requests: what waits by now is cancelled here, what is closed is dropped; the rest is returned. A row that
-- somebody's open transaction holds is left for the next look.
create or replace function background_queue.take_cancel_requests()
returns table (task_id bigint, worker_id bigint, requested_by name) language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
  v_request background_queue.cancel_requests;
  v_task :"schema".pg_background_tasks;
begin
  for v_request in select * from background_queue.cancel_requests loop
    select * into v_task from :"schema".pg_background_tasks t where t.id = v_request.task_id;
    if v_task.state in ('pending', 'retrying') then
      select * into v_task from :"schema".pg_background_tasks t where t.id = v_request.task_id for update skip locked;
      continue when not found;
      if v_task.state in ('pending', 'retrying') then
        perform background_queue.cancel_task(v_task, v_request.requested_by);
      end if;
    end if;
    if v_task.state = 'running' then
      if v_task.end_requested is distinct from 'cancel' then
        return query select v_task.id, v_task.worker_id, v_request.requested_by;
      end if;
    else
      delete from background_queue.cancel_requests r where r.task_id = (
        select h.task_id from background_queue.cancel_requests h where h.task_id = v_request.task_id for update skip locked);
    end if;
  end loop;
end $$;

-- roles with waiting tasks, but those that a supervisor cannot run
-- (text[], here and below: an argument of type name would hand its collation "C" on to every text variable, by which no
-- index of a text column can be used)
create or replace function background_queue.runnable_roles(p_refused text[]) returns oid[] language sql stable as $$
  select coalesce(array_agg(r), '{}') from unnest(background_queue.waiting_roles()) r
  where pg_get_userbyid(r) <> all (p_refused)
$$;

-- Once a second, and whenever woken: what one supervisor has to know. p_refused: roles it cannot run.
-- is_registered false: its row was taken for dead, register again.
create or replace function background_queue.tick(p_supervisor_id bigint, p_wants_wake boolean, p_refused text[],
  out is_registered boolean, out max_running integer, out due_roles text[], out next_due_ms integer,
  out rescued bigint[], out cancels jsonb, out settings_changed boolean, out role_settings text[])
language plpgsql
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off
set enable_sort = off set jit = off as $$
declare
  v_served text[];
  v_next timestamptz;
  v_stale interval := background_queue.stale_after();
begin
  perform set_config('synchronous_commit', 'off', true);
  -- where we were frozen ourselves, or the server was, the others' silence proves nothing yet
  if exists (select from background_queue.supervisors s
             where s.id = p_supervisor_id and s.seen_at < clock_timestamp() - v_stale / 2) then
    v_stale := interval '1 day';
  end if;
  update background_queue.supervisors s set seen_at = clock_timestamp(), wants_wake = p_wants_wake, refused = p_refused
  where s.id = p_supervisor_id and (s.wants_wake <> p_wants_wake or s.refused <> p_refused::name[] or s.seen_at < clock_timestamp() - interval '900 ms');
  select s.lanes into v_served from background_queue.supervisors s where s.id = p_supervisor_id;
  is_registered := found;
  settings_changed := background_queue.sync_lanes();
  role_settings := background_queue.role_settings();
  delete from background_queue.cooling c where c.until < clock_timestamp();
  rescued := (background_queue.rescue_orphans(v_stale)).rescued;
  select coalesce(jsonb_agg(jsonb_build_object('taskId', c.task_id, 'workerId', c.worker_id, 'by', c.requested_by)), '[]')
  into cancels from background_queue.take_cancel_requests() c;
  select l.max_running into max_running from background_queue.lanes l where l.lane = '';
  select coalesce(array_agg(distinct pg_get_userbyid(h.role)::text) filter (where h.is_due), '{}'),
    min(case when h.is_blocked then h.until else h.run_at end) filter (where not h.is_due)
  into due_roles, v_next
  from background_queue.heads(background_queue.runnable_roles(p_refused), v_served, '{}') h
  where max_running > 0 and not exists (select from background_queue.lanes l where l.lane = '' and l.paused);
  next_due_ms := case when v_next is not null
    then least(greatest(ceil(extract(epoch from v_next - clock_timestamp()) * 1000), 0), 3600000) end;
end $$;

-- Whether a supervisor of these lanes has anything left: due, running or retrying. What nobody can run before a
-- setting changes (paused, limit 0) does not count.
create or replace function background_queue.has_work(p_refused text[], p_served text[]) returns boolean
language sql volatile
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off
set enable_sort = off set jit = off as $$
  select exists (
      select from :"schema".pg_background_tasks t
      where t.state = 'running' and t.enqueued_by <> all (p_refused) and t.lane <> '!'
        and (p_served is null or '/' || coalesce(t.topic, '') = any (p_served)))
    or not q.paused and q.max_running > 0 and exists (
      select from :"schema".pg_background_tasks t
      cross join lateral background_queue.lane_state('/' || coalesce(t.topic, ''), p_served) s
      where t.state = 'retrying' and t.enqueued_by <> all (p_refused) and t.lane <> '!' and not s.is_shut)
    or not q.paused and q.max_running > 0 and exists (
      select from background_queue.heads(background_queue.runnable_roles(p_refused), p_served, '{}') h
      where h.run_at <= clock_timestamp() and not h.is_shut)
  from background_queue.lanes q where q.lane = ''
$$;

-- Recount against the real backends: dead workers pruned, their tasks rescued.
create or replace function background_queue.calibrate(out before integer, out after integer, out rescued bigint[],
  out pruned integer) language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
  v_orphans record;
begin
  select count(*) into before from :"schema".pg_background_tasks t where t.state = 'running';
  select * into v_orphans from background_queue.rescue_orphans(background_queue.stale_after());
  rescued := v_orphans.rescued;
  pruned := v_orphans.pruned;
  perform count(*) from background_queue.take_cancel_requests();
  select count(*) into after from :"schema".pg_background_tasks t where t.state = 'running';
end $$;

-- Called by anybody of the queue: only who has the owner's rights repairs. Whoever may just enqueue could keep the
-- locks of others' tasks by leaving the transaction open, so it looks, and supervisors repair.
create or replace function background_queue.recount(p_caller name) returns integer language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
  if pg_has_role(p_caller, current_user, 'usage') then
    return (select c.after from background_queue.calibrate() c);
  end if;
  perform pg_notify('background_queue', 'due');
  return (select count(*) from :"schema".pg_background_tasks t
    where t.state = 'running' and not background_queue.worker_is_gone(t.worker_id));
end $$;

-- Wake every supervisor, and warn where tasks are due and none lives.
create or replace function background_queue.ensure(p_caller name) returns void language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
  perform background_queue.recount(p_caller);
  perform pg_notify('background_queue', 'due');
  if not exists (select from background_queue.supervisors s where not background_queue.backend_is_gone(s.backend_pid,
       s.role_oid, s.backend_started_at, s.server_started_at))
     and exists (select from background_queue.heads(background_queue.waiting_roles(), null, '{}') h where h.is_due) then
    raise warning 'Tasks are due and no supervisor is alive'
      using hint = 'Run "pgbq work", or "pgbq ensure-workers" from cron, on a host that reaches this database.';
  end if;
end $$;

-- due: waiting tasks that a claim could take now, were there room; active: running ones; the queue's limit
create or replace function background_queue.load(out due bigint, out active bigint, out max_running integer)
language sql volatile set search_path = pg_catalog, pg_temp as $$
  select
    (select count(*) from :"schema".pg_background_tasks t left join background_queue.lanes l
       on l.lane = '/' || coalesce(t.topic, '')
     where t.state in ('pending', 'retrying') and t.run_at <= clock_timestamp() and t.lane <> '!'
       and not (q.paused or coalesce(l.paused, false) or q.max_running = 0 or coalesce(l.max_running, 1) = 0)),
    (select count(*) from :"schema".pg_background_tasks t where t.state = 'running'), q.max_running
  from background_queue.lanes q where q.lane = ''
$$;

-- Let the queue of a restored or cloned database run here: note the server and database, and give tasks
-- the oid that their role has now, by its name.
create or replace function background_queue.adopt() returns void language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
  update background_queue.queue set system_identifier = c.system_identifier, database_oid = d.oid
  from pg_control_system() c, pg_database d where d.datname = current_database();
  update :"schema".pg_background_tasks t set enqueued_by_oid = r.oid,
    lane = case when t.state in ('pending', 'retrying') then background_queue.lane_of(t.topic) else t.lane end
  from pg_roles r where r.rolname = t.enqueued_by and (t.enqueued_by_oid <> r.oid or t.lane = '!');
end $$;
