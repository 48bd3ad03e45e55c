-- What people and applications call, the views and triggers behind it, and who may.

-- The inboxes and commands record the caller by a column default, which is evaluated as whoever inserts: nobody
-- can name another role, and no definer function asks who is logged in (protocol of this project, and
-- https://www.postgresql.org/docs/current/sql-createfunction.html#SQL-CREATEFUNCTION-SECURITY).
create or replace view background_queue.inbox as
  select null::bigint as id, null::boolean as existing, null::text as sql_statement, null::text as topic,
    null::jsonb as options, null::name as caller, null::oid as caller_oid;
alter view background_queue.inbox alter column caller set default current_user;
alter view background_queue.inbox alter column caller_oid set default quote_ident(current_user)::regrole::oid;

create or replace view background_queue.inbox_many as
  select null::text[] as statements, null::text[] as topics, null::jsonb[] as options, null::bigint as first_id,
    null::bigint as last_id, null::bigint as added, null::name as caller, null::oid as caller_oid;
alter view background_queue.inbox_many alter column caller set default current_user;
alter view background_queue.inbox_many alter column caller_oid set default quote_ident(current_user)::regrole::oid;

create or replace view background_queue.commands as
  select null::text as verb, null::bigint as task_id, null::boolean as done, null::name as caller;
alter view background_queue.commands alter column caller set default current_user;

-- what every role of the queue may know of the installation
create or replace view background_queue.installed as
  select (select max(m.version) from background_queue.migrations m) as version, ':"schema"'::regnamespace::text as schema,
    (select c.relowner from pg_class c where c.oid = ':"schema".pg_background_tasks'::regclass) as owner_oid;

do $$
declare
  v_trigger record;
begin
  for v_trigger in
    select * from (values
      ('inbox_insert', 'background_queue.inbox', 'instead of insert on %s for each row execute function background_queue.enqueue()'),
      ('inbox_many_insert', 'background_queue.inbox_many', 'instead of insert on %s for each row execute function background_queue.enqueue_many()'),
      ('commands_insert', 'background_queue.commands', 'instead of insert on %s for each row execute function background_queue.command()'),
      ('tasks_prepare', ':"schema".pg_background_tasks', 'before insert on %s for each row when (new.lane is null) execute function background_queue.prepare_task()'),
      ('tasks_forget', ':"schema".pg_background_tasks', 'after delete on %s referencing old table as gone for each statement execute function background_queue.forget_attempts()'),
      ('tasks_truncate', ':"schema".pg_background_tasks', 'after truncate on %s for each statement execute function background_queue.forget_attempts()')
    ) t(name, relation, definition)
  loop
    if not exists (select from pg_trigger g where g.tgname = v_trigger.name and g.tgrelid = v_trigger.relation::regclass) then
      execute format('create trigger %I ' || v_trigger.definition, v_trigger.name, v_trigger.relation);
    end if;
  end loop;
  if not exists (select from pg_trigger g where g.tgname = 'tasks_wake') then
    -- deferred to the commit, and once a transaction: the first row's trigger, or the enqueue function, takes a note
    create constraint trigger tasks_wake after insert on :"schema".pg_background_tasks
      deferrable initially deferred for each row
      when (coalesce(current_setting('background_queue.woken', true), '') <> pg_current_xact_id()::text)
      execute function background_queue.wake();
  end if;
end $$;

create or replace function :"schema".pg_background_enqueue(sql text, topic text default null) returns bigint
language plpgsql as $$
declare
  v_id bigint;
begin
  insert into background_queue.inbox (sql_statement, topic) values ($1, $2) returning id into v_id;
  return v_id;
end $$;

create or replace function :"schema".pg_background_enqueue(sql text, topic text, options jsonb) returns bigint
language plpgsql as $$
declare
  v_id bigint;
begin
  insert into background_queue.inbox (sql_statement, topic, options) values ($1, $2, $3) returning id into v_id;
  return v_id;
end $$;

create or replace function :"schema".pg_background_cancel(id bigint) returns boolean language plpgsql as $$
declare
  v_done boolean;
begin
  insert into background_queue.commands (verb, task_id) values ('cancel', $1) returning done into v_done;
  return v_done;
end $$;

create or replace function :"schema".pg_background_retry(id bigint) returns boolean language plpgsql as $$
declare
  v_done boolean;
begin
  insert into background_queue.commands (verb, task_id) values ('retry', $1) returning done into v_done;
  return v_done;
end $$;

create or replace function :"schema".pg_background_queue_active_workers_count() returns integer
language sql security definer set search_path = pg_catalog, pg_temp as $$
  select count(*)::integer from :"schema".pg_background_tasks where state = 'running'
$$;

create or replace function :"schema".pg_background_queue_calibrate_workers_count() returns integer
language sql security definer set search_path = pg_catalog, pg_temp as $$
  select after from background_queue.calibrate()
$$;

create or replace function :"schema".pg_background_queue_ensure_workers() returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform background_queue.calibrate();
  perform pg_notify('background_queue', 'due');
  if not exists (select from background_queue.supervisors)
     and exists (select from background_queue.heads(background_queue.waiting_roles(), null, '{}') h where h.is_due) then
    raise warning 'Tasks are due and no supervisor is alive'
      using hint = 'Run "pgbq work", or "pgbq ensure-workers" from cron, on a host that reaches this database.';
  end if;
end $$;

-- Let a role enqueue, see, cancel and retry its own tasks, and log in as a worker for them.
create or replace function background_queue.grant_enqueue(p_role name) returns void language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
  execute format('grant usage on schema background_queue to %I', p_role);
  if not has_schema_privilege(p_role, ':"schema"'::regnamespace::oid, 'usage') then
    execute format('grant usage on schema :"schema" to %I', p_role);
  end if;
  execute format('grant execute on function :"schema".pg_background_enqueue(text, text),
    :"schema".pg_background_enqueue(text, text, jsonb), :"schema".pg_background_cancel(bigint),
    :"schema".pg_background_retry(bigint), :"schema".pg_background_queue_active_workers_count(),
    :"schema".pg_background_queue_ensure_workers(), :"schema".pg_background_queue_calibrate_workers_count(),
    background_queue.claim(bigint, text), background_queue.finish(bigint, text, bigint, text),
    background_queue.step(bigint, text, integer), background_queue.restart(bigint, text),
    background_queue.fail(bigint, text, jsonb),
    background_queue.release(bigint, text, text), background_queue.run_text(text) to %I', p_role);
  execute format('grant insert (sql_statement, topic, options), select (id, existing) on background_queue.inbox to %I', p_role);
  execute format('grant insert (statements, topics, options), select (first_id, last_id, added)
    on background_queue.inbox_many to %I', p_role);
  execute format('grant insert (verb, task_id), select (done) on background_queue.commands to %I', p_role);
  execute format('grant select on :"schema".pg_background_tasks, background_queue.attempts, background_queue.installed to %I', p_role);
end $$;

create or replace function background_queue.revoke_enqueue(p_role name) returns void language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
  execute format('revoke all on all functions in schema background_queue from %I', p_role);
  execute format('revoke all on all tables in schema background_queue from %I', p_role);
  execute format('revoke all on :"schema".pg_background_tasks from %I', p_role);
  execute format('revoke all on function :"schema".pg_background_enqueue(text, text),
    :"schema".pg_background_enqueue(text, text, jsonb), :"schema".pg_background_cancel(bigint),
    :"schema".pg_background_retry(bigint), :"schema".pg_background_queue_active_workers_count(),
    :"schema".pg_background_queue_ensure_workers(),
    :"schema".pg_background_queue_calibrate_workers_count() from %I', p_role);
  execute format('revoke usage on schema background_queue from %I', p_role);
end $$;

-- Run a text that no parser of ours understands, by the server's own grammar, which refuses transaction control here.
create or replace function background_queue.run_text(p_sql text) returns bigint language plpgsql as $$
declare
  v_rows bigint;
begin
  execute p_sql;
  get diagnostics v_rows = row_count;
  return v_rows;
end $$;

alter table :"schema".pg_background_tasks enable row level security;
alter table background_queue.attempts enable row level security;
do $$
begin
  if not exists (select from pg_policy where polname = 'own_tasks') then
    -- by name and oid: a role made anew under an old name is another role
    create policy own_tasks on :"schema".pg_background_tasks for select using (enqueued_by = current_user
      and enqueued_by_oid = (select quote_ident(current_user)::regrole::oid));
  end if;
  if not exists (select from pg_policy where polname = 'own_attempts') then
    create policy own_attempts on background_queue.attempts for select
      using (exists (select from :"schema".pg_background_tasks t where t.id = task_id));
  end if;
end $$;

-- Nothing is left to anybody but the owner and the roles that were granted: not what PUBLIC has by default, not
-- what the owner's default privileges hand out.
do $$
declare
  v_enqueuers name[] := array(
    select distinct pg_get_userbyid(x.grantee)
    from pg_attribute a, aclexplode(a.attacl) x
    where a.attrelid = 'background_queue.inbox'::regclass and a.attname = 'sql_statement'
      and x.privilege_type = 'INSERT' and x.grantee <> 0);
  v_object record;
begin
  for v_object in
    select distinct o.kind, o.name, case x.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(x.grantee)) end as grantee
    from (
      select 'table' as kind, c.oid::regclass::text as name, c.relacl as acl, c.relowner as owner from pg_class c
      where c.relkind in ('r', 'v') and (c.relnamespace = 'background_queue'::regnamespace
        or c.oid = ':"schema".pg_background_tasks'::regclass)
      union all
      select 'sequence', c.oid::regclass::text, c.relacl, c.relowner from pg_class c
      where c.relkind = 'S' and (c.relnamespace = 'background_queue'::regnamespace
        or c.oid = pg_get_serial_sequence(':"schema".pg_background_tasks', 'id')::regclass)
      union all
      select 'function', p.oid::regprocedure::text, coalesce(p.proacl, acldefault('f', p.proowner)), p.proowner
      from pg_proc p where p.pronamespace = 'background_queue'::regnamespace
        or (p.pronamespace = ':"schema"'::regnamespace and p.proname in ('pg_background_enqueue', 'pg_background_cancel',
          'pg_background_retry', 'pg_background_queue_active_workers_count', 'pg_background_queue_ensure_workers',
          'pg_background_queue_calibrate_workers_count'))
      union all
      select 'schema', 'background_queue', n.nspacl, n.nspowner from pg_namespace n where n.nspname = 'background_queue'
    ) o, aclexplode(o.acl) x
    where x.grantee <> o.owner
  loop
    execute format('revoke all on %s %s from %s', v_object.kind, v_object.name, v_object.grantee);
  end loop;
  perform background_queue.grant_enqueue(r) from unnest(v_enqueuers) r;
end $$;

-- Nothing may belong to another than the queue's owner: a function that somebody planted before the install would
-- be replaced and stay his, and what a superuser adds would run with a superuser's rights.
do $$
declare
  v_strangers text;
begin
  select string_agg(format('%s belongs to "%s"', o.name, pg_get_userbyid(o.owner)), ', ') into v_strangers
  from (
    select c.oid::regclass::text as name, c.relowner as owner from pg_class c
    where c.relkind in ('r', 'v', 'S') and c.relnamespace = 'background_queue'::regnamespace
    union all
    select p.oid::regprocedure::text, p.proowner from pg_proc p
    where p.pronamespace = 'background_queue'::regnamespace
      or (p.pronamespace = ':"schema"'::regnamespace and p.proname in ('pg_background_enqueue', 'pg_background_cancel',
        'pg_background_retry', 'pg_background_queue_active_workers_count', 'pg_background_queue_ensure_workers',
        'pg_background_queue_calibrate_workers_count'))
  ) o
  where o.owner <> (select c.relowner from pg_class c where c.oid = ':"schema".pg_background_tasks'::regclass);
  if v_strangers is not null then
    raise exception using errcode = '42501', message = format('not the queue''s owner''s: %s', v_strangers);
  end if;
end $$;
