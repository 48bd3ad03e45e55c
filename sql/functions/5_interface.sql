-- What people and applications call, and the views and triggers behind it.

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
  select null::text as verb, null::bigint as task_id, null::boolean as done, null::name as caller,
    null::integer as count;
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
  if not exists (select from pg_trigger g where g.tgname = 'tasks_wake'
       and g.tgrelid = ':"schema".pg_background_tasks'::regclass) then
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

create or replace function :"schema".pg_background_queue_calibrate_workers_count() returns integer language plpgsql as $$
declare
  v_count integer;
begin
  insert into background_queue.commands (verb) values ('recount') returning count into v_count;
  return v_count;
end $$;

create or replace function :"schema".pg_background_queue_ensure_workers() returns void language plpgsql as $$
begin
  insert into background_queue.commands (verb) values ('ensure');
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
