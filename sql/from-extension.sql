-- Queries of `install --from-extension`. The C extension's table stands in the schema background_queue_moving while its
-- rows are taken over; :"schema" is the queue's new one.

-- name: extension
-- the C extension: version, schema, owner, its table and what hangs on that: type, sequence, columns, triggers of others and its own
select e.extversion as version, n.nspname as schema, pg_get_userbyid(e.extowner) as owner, current_user as "current",
  (select r.rolsuper from pg_roles r where r.rolname = current_user) as is_super,
  (select c.oid::regclass::text from pg_class c where c.oid = d.objid) as "table",
  (select t.oid::regtype::text from pg_depend m join pg_type t on t.oid = m.objid where m.classid = 'pg_type'::regclass
     and m.refclassid = 'pg_extension'::regclass and m.refobjid = e.oid and t.typname = 'pg_background_queue_task_state') as type,
  array(select s.objid::regclass::text from pg_depend s join pg_depend m on m.classid = 'pg_class'::regclass
     and m.objid = s.objid and m.refclassid = 'pg_extension'::regclass and m.refobjid = e.oid
     where s.classid = 'pg_class'::regclass and s.refclassid = 'pg_class'::regclass and s.refobjid = d.objid and s.deptype = 'a') as sequences,
  array(select a.attname::text from pg_attribute a where a.attrelid = d.objid and a.attnum > 0 and not a.attisdropped) as columns,
  array(select g.tgname::text from pg_trigger g where g.tgrelid = d.objid and not g.tgisinternal and not exists (
     select from pg_depend m where m.classid = 'pg_proc'::regclass and m.objid = g.tgfoid and m.refobjid = e.oid)) as triggers,
  array(select quote_ident(g.tgname) from pg_trigger g join pg_depend m on m.classid = 'pg_proc'::regclass and m.objid = g.tgfoid
     and m.refclassid = 'pg_extension'::regclass and m.refobjid = e.oid where g.tgrelid = d.objid and not g.tgisinternal) as own_triggers
from pg_extension e join pg_namespace n on n.oid = e.extnamespace
left join pg_depend d on d.classid = 'pg_class'::regclass and d.refclassid = 'pg_extension'::regclass and d.refobjid = e.oid
  and d.deptype = 'e' and d.objid in (select c.oid from pg_class c where c.relname = 'pg_background_tasks' and c.relkind = 'r')
where e.extname = 'pg_background_queue';

-- name: extension_workers
-- backends that the extension's workers have in this database
select a.pid from pg_stat_activity a
where a.datname = current_database() and a.pid <> pg_backend_pid()
  and (a.backend_type ilike 'pg\_background%' or a.application_name ilike 'pg\_background\_queue%')
order by a.pid;

-- name: extension_enqueuers
-- roles that could write the extension's table, other than its owner, members of it and superusers
select r.rolname as role from pg_class c join pg_roles r on r.oid <> c.relowner and not r.rolsuper
where c.oid = $1::regclass and exists (
  select from aclexplode(c.relacl) x where x.privilege_type = 'INSERT' and x.grantee in (0, r.oid))
  and r.rolname not like 'pg\_%' and r.rolname <> $2 order by r.rolname;

-- name: extension_library
-- whether the server has the extension's library loaded, and which of its settings nobody has set
select exists (select from pg_settings s where s.name = 'shared_preload_libraries' and s.setting ~ '\mpg_background_queue\M') as is_loaded,
  array(select split_part(s.name, '.', 2) from pg_settings s where s.name like 'pg\_background\_queue.%' and s.source = 'default') as unset;

-- name: moving_counts
-- tasks by state
select t.state::text, count(*) as count from background_queue_moving.pg_background_tasks t group by t.state order by t.state;

-- name: moving_obstacles
-- rows that the queue's table refuses
select id, case when sql_statement is null then 'has no SQL' when state is null then 'has no state'
  else 'has a topic of more than 200 characters' end as problem
from background_queue_moving.pg_background_tasks
where length(topic) > 200 or sql_statement is null or state is null order by id limit 1;

-- name: move_tasks
-- every row under its id, as the rules of its state want it; $1: what running becomes, $2: the role of all, $3: why a
-- task that ran is failed
insert into :"schema".pg_background_tasks (id, sql_statement, topic, joined_at, started_at, closed_at, priority, state,
  retry_count, retry_delay_in_sec, errors, run_at, enqueued_by, enqueued_by_oid, lane)
select o.id, o.sql_statement, nullif(o.topic, ''), o.joined_at,
  case o.becomes when 'pending' then null when 'retrying' then coalesce(o.started_at, o.joined_at) else o.started_at end,
  case when o.becomes not in ('failed', 'finished') then null when o.is_stuck then clock_timestamp()
    else coalesce(o.closed_at, o.started_at, o.joined_at) end,
  coalesce(o.priority, 100), o.becomes:::"schema".pg_background_queue_task_state,
  greatest(coalesce(o.retry_count, 0), 0), greatest(coalesce(o.retry_delay_in_sec, 0), 0),
  case when o.becomes = 'finished' then null when o.is_stuck and o.becomes = 'failed' then $3
    when o.becomes = 'retrying' then coalesce(o.errors, 'no error was kept') else o.errors end,
  case when o.becomes = 'retrying' then coalesce(o.closed_at, o.started_at, o.joined_at)
    + greatest(coalesce(o.retry_delay_in_sec, 0), 0) * interval '1 second' else o.joined_at end,
  $2::name, quote_ident($2::name)::regrole::oid,
  case when o.becomes in ('pending', 'retrying') then background_queue.lane_of(nullif(o.topic, '')) else '' end
from (
  select t.id, t.sql_statement, t.topic, coalesce(t.joined_at::timestamptz, clock_timestamp()) as joined_at,
    t.started_at::timestamptz as started_at, t.closed_at::timestamptz as closed_at, t.priority, t.retry_count,
    t.retry_delay_in_sec, t.errors, t.state::text = 'running' as is_stuck,
    case t.state::text when 'running' then $1 else t.state::text end as becomes
  from background_queue_moving.pg_background_tasks t) o;

-- name: move_errors
-- what the extension left in errors of tasks that finished later
insert into background_queue.attempts (task_id, outcome, ended_at, message)
select t.id, 'retrying', coalesce(t.started_at, t.joined_at, now())::timestamptz, t.errors
from background_queue_moving.pg_background_tasks t where t.state::text = 'finished' and t.errors is not null;

-- name: move_sequence
-- ids go on behind the last that was given out
select setval(pg_get_serial_sequence(':"schema".pg_background_tasks', 'id'), greatest($1::bigint, coalesce(max(id), 0), 1),
  $2::boolean or coalesce(max(id) >= $1::bigint, false)) as last from :"schema".pg_background_tasks;

-- name: moved_prunable
-- closed tasks that the queue's retention will delete, and its days
select count(*) as count, max(v.value) as days from :"schema".pg_background_tasks t, background_queue.effective_values() v
where v.lane = '' and v.name = 'retention_in_days' and v.value::numeric > 0
  and t.closed_at < clock_timestamp() - v.value::numeric * interval '1 day';
