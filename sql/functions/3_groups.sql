-- Grouped commits (max_tasks_per_commit): behind a running task, short ones of its topic and role run in its
-- transaction, each in a savepoint, and all end with it. They are not marked running: one runs at a time, and the first
-- stands for them where limits are counted. Their row locks are their claims; a backend that dies gives them up.

-- whether a task may run behind another: one whose first attempt it is, and that wants nothing of its transaction
-- (an SQL function that is inlined: it costs no call)
create or replace function background_queue.may_follow(t :"schema".pg_background_tasks, p_topic text) returns boolean
language sql stable as $$
  select t.state = 'pending' and t.topic is not distinct from p_topic and t.mode <> 'autocommit' and t.isolation is null
    and t.statements_done = 0 and t.retry_count = 0 and t.rescues = 0 and length(t.sql_statement) <= 10000
    and t.enqueued_by = pg_get_userbyid(t.enqueued_by_oid)
$$;

-- take: up to p_limit tasks that stand right behind a running one and may share its transaction; their rows stay locked
-- until it ends. None where the running one took long or was rescued before (it may be what killed its worker), or where
-- another task comes first. has_deferrable: some constraint (not the queue's own note) may wait for the commit.
create or replace function background_queue.take(p_id bigint, p_token text, p_worker_id bigint, p_secret text, p_limit integer,
  out task_id bigint, out sql_statement text, out wait_ms integer, out has_deferrable boolean) returns setof record
language plpgsql security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off set jit = off as $$
declare
  v_place record := background_queue.next_place(p_id, p_worker_id, p_secret, true);
  v_lead :"schema".pg_background_tasks;
  v_end record;
begin
  -- a lock of a row would fail in a READ ONLY transaction
  if v_place.lane is null or current_setting('transaction_read_only') = 'on' or clock_timestamp() - now() > interval '25 ms' then
    return;
  end if;
  select * into v_lead from :"schema".pg_background_tasks t
  where t.id = p_id and t.state = 'running' and t.token_hash = sha256(convert_to(p_token, 'UTF8')) and t.end_requested is null
    and t.rescues = 0 and t.statements_done = 0 and (t.enqueued_by_oid, t.lane, t.priority) = (v_place.role_oid, v_place.lane, v_place.priority);
  if not found or background_queue.lane_of(v_lead.topic) <> v_lead.lane then
    return;
  end if;
  -- no row is locked that will not run
  select n.run_at, n.id into v_end from (
    select t.run_at, t.id, background_queue.may_follow(t, v_lead.topic) as may_follow from :"schema".pg_background_tasks t
    where t.state in ('pending', 'retrying') and t.enqueued_by_oid = v_place.role_oid and t.lane = v_place.lane
      and t.priority = v_place.priority and t.run_at <= clock_timestamp() and (t.run_at, t.id) >= (v_place.run_at, v_place.id)
    order by t.run_at, t.id limit p_limit) n
  where not n.may_follow limit 1;
  has_deferrable := exists (select from pg_trigger g where g.tgdeferrable and g.tgfoid <> 'background_queue.wake()'::regprocedure);
  for task_id, sql_statement, wait_ms in
    select n.id, n.sql_statement, least(date_part('epoch', clock_timestamp() - n.run_at) * 1000, 2147483647) from (
      select t.id, t.sql_statement, t.run_at from :"schema".pg_background_tasks t
      where t.state in ('pending', 'retrying') and t.enqueued_by_oid = v_place.role_oid and t.lane = v_place.lane
        and t.priority = v_place.priority and t.run_at <= clock_timestamp() and (t.run_at, t.id) >= (v_place.run_at, v_place.id)
        and (v_end.id is null or (t.run_at, t.id) < (v_end.run_at, v_end.id)) and background_queue.may_follow(t, v_lead.topic)
      order by t.run_at, t.id limit p_limit for no key update skip locked) n
  loop
    return next;
  end loop;
  -- for run_each(), which cannot set the time of the statement that it is called by
  perform set_config('statement_timeout', greatest(1, ceil( 50 - extract(epoch from clock_timestamp() - now()) * 1000))::text, true);
end $$;

-- undo: what a task has left in its session, in the rights of its role; but for its transaction, for its advisory locks,
-- which guard what it did until that is committed, and for the seed of random().
create or replace function background_queue.undo() returns void language plpgsql as $$
begin
  reset all;
  set session authorization default;
  reset role;
  execute 'close all';
  unlisten *;
  discard temp;
  discard sequences;
  deallocate all;
end $$;

-- run_each: run texts one behind another in one transaction, in the rights of their role, each in a savepoint and in a
-- clean session; p_has_deferrable: with the checks that would wait for the commit, whose effects are undone. rows: of
-- each that ended well; behind the first that did not, which is undone, nothing runs. instants: when each began, and then
-- when the last ended. What is slow in it is to call the server: in its hands a text costs half of what it costs one by one.
create or replace function background_queue.run_each(p_texts text[], p_has_deferrable boolean, out rows bigint[],
  out instants double precision[]) language plpgsql as $$
declare
  v_text pg_catalog.text;
  v_rows bigint;
begin
  foreach v_text in array p_texts loop
    perform background_queue.undo();
    perform pg_catalog.setseed(pg_catalog.float8div(pg_catalog.hashtext(pg_catalog.gen_random_uuid()::pg_catalog.text), 2147483648));
    instants := pg_catalog.array_append(instants, pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()));
    begin
      execute v_text;
      get diagnostics v_rows = row_count;
      if p_has_deferrable then
        begin
          set constraints all immediate;
          raise exception using errcode = 'PQ000';
        exception when sqlstate 'PQ000' then
          null;
        end;
      end if;
    -- a cancel of the first task, which is not ours to swallow, is seen by the finish
    exception when query_canceled or assert_failure or others then
      return;
    end;
    rows := pg_catalog.array_append(rows, v_rows);
  end loop;
  instants := pg_catalog.array_append(instants, pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()));
end $$;

-- pass: the same between two tasks that are sent one by one; gives the next what is left of the time that the
-- transaction may take. Returns the instant.
create or replace function background_queue.pass() returns double precision language plpgsql as $$
begin
  perform background_queue.undo();
  return background_queue.begin_next();
end $$;

-- the part of pass() that names things
create or replace function background_queue.begin_next() returns double precision language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
  v_left double precision := 50 - extract(epoch from clock_timestamp() - now()) * 1000;
begin
  if v_left <= 0 then
    raise exception using errcode = 'PQ004', message = 'The time of a group of tasks is over';
  end if;
  perform setseed(hashtext(gen_random_uuid()::text) / 2147483648.0), set_config('statement_timeout', ceil(v_left)::text, true);
  return extract(epoch from clock_timestamp());
end $$;

-- why not all of the tasks that a transaction ran can be finished
create or replace function background_queue.unfinished(p_ids bigint[], p_token text) returns void language plpgsql as $$
begin
  if exists (select from :"schema".pg_background_tasks t where t.id = p_ids[1] and t.state = 'finished') then
    raise exception using errcode = 'PQ004', message = format('Tasks that ran together with task %s have changed', p_ids[1]);
  end if;
  perform background_queue.held_task(p_ids[1], p_token);
  raise exception using errcode = 'PQ002', message = format('The end of task %s was requested', p_ids[1]);
end $$;
