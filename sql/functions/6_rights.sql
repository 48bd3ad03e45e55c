-- Who may do what: the rights of an enqueuer, given, taken and checked from one list.

-- What a role that may enqueue has, and all that it has: it can enqueue, see, cancel and retry its own tasks, and log
-- in as a worker for them. Of the inner functions all want the token of a claim but run_text, run_each, undo,
-- pass and begin_next, which add no rights.
create or replace function background_queue.enqueue_rights()
returns table (kind text, object text, privilege text, columns name[]) language sql stable
set search_path = pg_catalog, pg_temp as $$
  select r.kind, coalesce(case r.kind when 'table' then to_regclass(r.object)::text
    when 'routine' then to_regprocedure(r.object)::text end, r.object), upper(r.privilege), r.columns::name[]
  from (values
    ('schema', 'background_queue', 'usage', null),
    ('table', 'background_queue.inbox', 'insert', '{sql_statement,topic,options}'),
    ('table', 'background_queue.inbox', 'select', '{id,existing}'),
    ('table', 'background_queue.inbox_many', 'insert', '{statements,topics,options}'),
    ('table', 'background_queue.inbox_many', 'select', '{first_id,last_id,added}'),
    ('table', 'background_queue.commands', 'insert', '{verb,task_id}'),
    ('table', 'background_queue.commands', 'select', '{done,count}'),
    ('table', 'background_queue.questions', 'insert', '{task_id}'),
    ('table', 'background_queue.questions', 'select', '{facts}'),
    ('table', 'background_queue.attempts', 'select', null),
    ('table', 'background_queue.notices', 'select', null),
    ('table', 'background_queue.installed', 'select', null),
    ('table', ':"schema".pg_background_tasks', 'select', null),
    ('routine', ':"schema".pg_background_enqueue(text, text)', 'execute', null),
    ('routine', ':"schema".pg_background_enqueue(text, text, jsonb)', 'execute', null),
    ('routine', ':"schema".pg_background_cancel(bigint)', 'execute', null),
    ('routine', ':"schema".pg_background_retry(bigint)', 'execute', null),
    ('routine', ':"schema".pg_background_queue_active_workers_count()', 'execute', null),
    ('routine', ':"schema".pg_background_queue_calibrate_workers_count()', 'execute', null),
    ('routine', ':"schema".pg_background_queue_ensure_workers()', 'execute', null),
    ('routine', 'background_queue.claim(bigint, text)', 'execute', null),
    ('routine', 'background_queue.finish(bigint, text, bigint, text)', 'execute', null),
    ('routine', 'background_queue.finish_and_claim(bigint[], text, bigint[], text[], double precision[], bigint, text, boolean)', 'execute', null),
    ('routine', 'background_queue.take(bigint, text, bigint, text, integer)', 'execute', null),
    ('routine', 'background_queue.pass()', 'execute', null),
    ('routine', 'background_queue.run_each(text[], boolean)', 'execute', null),
    ('routine', 'background_queue.undo()', 'execute', null),
    ('routine', 'background_queue.begin_next()', 'execute', null),
    ('routine', 'background_queue.step(bigint, text, integer)', 'execute', null),
    ('routine', 'background_queue.restart(bigint, text)', 'execute', null),
    ('routine', 'background_queue.fail(bigint, text, jsonb)', 'execute', null),
    ('routine', 'background_queue.release(bigint, text, text)', 'execute', null),
    ('routine', 'background_queue.run_text(text)', 'execute', null)
  ) r(kind, object, privilege, columns)
$$;

-- every object of the queue, its owner and rights; a column with rights of its own is a row beside its table's. Also
-- whatever in the queue's schema bears the name of one of its functions: is_ours tells them apart.
create or replace function background_queue.objects()
returns table (kind text, object text, "column" name, owner oid, rights aclitem[], is_ours boolean) language sql stable
set search_path = pg_catalog, pg_temp as $$
  with relations as (
    select c.oid, c.relkind, c.relowner, c.relacl from pg_class c
    where c.relkind in ('r', 'v', 'm', 'f', 'p', 'S') and (c.relnamespace = 'background_queue'::regnamespace
      or c.oid in (':"schema".pg_background_tasks'::regclass, pg_get_serial_sequence(':"schema".pg_background_tasks', 'id')::regclass))),
  public_routines as (
    select to_regprocedure(r.object) as oid from background_queue.enqueue_rights() r
    where r.kind = 'routine' and r.object not like 'background_queue.%')
  select case r.relkind when 'S' then 'sequence' else 'table' end, r.oid::regclass::text, null::name, r.relowner, r.relacl, true
  from relations r
  union all
  select 'table', r.oid::regclass::text, a.attname, r.relowner, a.attacl, true
  from relations r join pg_attribute a on a.attrelid = r.oid and a.attnum > 0 and a.attacl is not null
  union all
  select 'routine', p.oid::regprocedure::text, null, p.proowner, coalesce(p.proacl, acldefault('f', p.proowner)),
    p.pronamespace = 'background_queue'::regnamespace or p.oid in (select oid from public_routines)
  from pg_proc p where p.pronamespace = 'background_queue'::regnamespace or p.pronamespace = ':"schema"'::regnamespace
    and p.proname in (select o.proname from public_routines join pg_proc o using (oid))
  union all
  select 'type', t.oid::regtype::text, null, t.typowner, null, true from pg_type t
  where t.oid = ':"schema".pg_background_queue_task_state'::regtype
  union all
  select 'schema', n.nspname, null, n.nspowner, n.nspacl, true from pg_namespace n where n.nspname = 'background_queue'
$$;

-- roles that may enqueue
create or replace function background_queue.enqueuers() returns setof name language sql stable
set search_path = pg_catalog, pg_temp as $$
  select distinct pg_get_userbyid(x.grantee) from background_queue.objects() o, aclexplode(o.rights) x
  where o.object = 'background_queue.inbox' and o."column" = 'sql_statement' and x.privilege_type = 'INSERT' and x.grantee <> 0
$$;

-- Let a role enqueue.
create or replace function background_queue.grant_enqueue(p_role name) returns void language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
  v_right record;
begin
  if not has_schema_privilege(p_role, ':"schema"'::regnamespace::oid, 'usage') then
    execute format('grant usage on schema :"schema" to %I', p_role);
  end if;
  for v_right in
    select r.*, (select format('(%s)', string_agg(quote_ident(c), ', ')) from unnest(r.columns) c having count(*) > 0) as of_columns
    from background_queue.enqueue_rights() r
  loop
    execute format('grant %s %s on %s %s to %I', v_right.privilege, v_right.of_columns, v_right.kind, v_right.object, p_role);
  end loop;
end $$;

-- Take every right on the queue from a role, and what it passed on.
create or replace function background_queue.revoke_enqueue(p_role name) returns void language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
  v_object record;
begin
  for v_object in
    select distinct o.kind, o.object from background_queue.objects() o, aclexplode(o.rights) x
    where o.is_ours and x.grantee <> 0 and pg_get_userbyid(x.grantee) = p_role
  loop
    execute format('revoke all on %s %s from %I cascade', v_object.kind, v_object.object, p_role);
  end loop;
end $$;

-- rights that are not as they should be: held and not expected, or expected and not held; grantee null is PUBLIC
create or replace function background_queue.rights_drift()
returns table (kind text, object text, "column" name, grantee name, privilege text, is_held boolean) language sql stable
set search_path = pg_catalog, pg_temp as $$
  with held as (
    select o.kind, o.object, o."column", case when x.grantee <> 0 then pg_get_userbyid(x.grantee) end as grantee,
      x.privilege_type || case when x.is_grantable then ' WITH GRANT OPTION' else '' end as privilege
    from background_queue.objects() o, aclexplode(o.rights) x where o.is_ours and x.grantee <> o.owner),
  expected as (
    select r.kind, r.object, c."column", e.role as grantee, r.privilege
    from background_queue.enqueuers() e(role), background_queue.enqueue_rights() r
    left join lateral unnest(r.columns) c("column") on true)
  select h.*, true from (select * from held except select * from expected) h
  union all
  select e.*, false from (select * from expected except select * from held) e
$$;

-- What is not as an install leaves it, each with what is wrong in words: rights that nobody granted through the queue
-- (default privileges may have, or a hand) or that are missing, strangers' objects, planted functions, row security.
create or replace function background_queue.rights_problems()
returns table (object text, grantee text, privilege text, problem text) language sql stable
set search_path = pg_catalog, pg_temp as $$
  with tasks as (select * from pg_class c where c.oid = ':"schema".pg_background_tasks'::regclass),
  drift as (
    select concat_ws(' ', nullif(d.kind, 'table'), d.object || coalesce('(' || d."column" || ')', '')) as object,
      coalesce(d.grantee, 'PUBLIC') as grantee, d.privilege, d.is_held
    from background_queue.rights_drift() d)
  select d.object, d.grantee, d.privilege, case when d.is_held
    then format('%s has %s on %s, which the queue did not grant', d.grantee, d.privilege, d.object)
    else format('%s may enqueue, but lacks %s on %s', d.grantee, d.privilege, d.object) end
  from drift d
  union all
  select 'schema ' || ':"schema"'::regnamespace, e, 'USAGE', format('%s may enqueue, but lacks USAGE on schema %s', e, ':"schema"'::regnamespace)
  from background_queue.enqueuers() e where not has_schema_privilege(e, ':"schema"'::regnamespace::oid, 'usage')
  union all
  select o.object, pg_get_userbyid(o.owner), 'OWNER', format('%s %s belongs to %s, not to the queue''s owner', o.kind, o.object,
    pg_get_userbyid(o.owner))
  from background_queue.objects() o, tasks t where o.is_ours and o."column" is null and o.owner <> t.relowner
  union all
  select o.object, pg_get_userbyid(o.owner), 'OWNER', format('%s of %s is not the queue''s: a call may reach it instead', o.object,
    pg_get_userbyid(o.owner))
  from background_queue.objects() o where not o.is_ours
  union all
  select 'schema ' || n.oid::regnamespace, 'PUBLIC', 'CREATE', format('PUBLIC may create objects in schema %s, such as functions '
    'that are called instead of the queue''s', n.oid::regnamespace)
  from pg_namespace n, aclexplode(n.nspacl) x
  where n.oid = ':"schema"'::regnamespace and x.grantee = 0 and x.privilege_type = 'CREATE'
  union all
  select t.oid::regclass::text, null, null, 'row security is off: who may enqueue sees the tasks of all'
  from tasks t where not t.relrowsecurity
  union all
  select p.polrelid::regclass::text, null, null, format('the policy %I is not the queue''s', p.polname) from pg_policy p
  where (p.polrelid = ':"schema".pg_background_tasks'::regclass and p.polname <> 'own_tasks')
    or (p.polrelid = 'background_queue.attempts'::regclass and p.polname <> 'own_attempts')
    or (p.polrelid = 'background_queue.notices'::regclass and p.polname <> 'own_notices')
$$;

alter table :"schema".pg_background_tasks enable row level security;
alter table background_queue.attempts enable row level security;
alter table background_queue.notices enable row level security;
do $$
begin
  if not exists (select from pg_policy where polname = 'own_tasks' and polrelid = ':"schema".pg_background_tasks'::regclass) then
    -- by name and oid: a role made anew under an old name is another role
    create policy own_tasks on :"schema".pg_background_tasks for select using (enqueued_by = current_user
      and enqueued_by_oid = (select quote_ident(current_user)::regrole::oid));
  end if;
  if not exists (select from pg_policy where polname = 'own_attempts' and polrelid = 'background_queue.attempts'::regclass) then
    create policy own_attempts on background_queue.attempts for select
      using (exists (select from :"schema".pg_background_tasks t where t.id = task_id));
  end if;
  if not exists (select from pg_policy where polname = 'own_notices' and polrelid = 'background_queue.notices'::regclass) then
    create policy own_notices on background_queue.notices for select
      using (exists (select from :"schema".pg_background_tasks t where t.id = task_id));
  end if;
end $$;
