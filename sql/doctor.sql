-- Named read-only queries of `pgbq doctor`: a line `-- name: <name>`, a line of purpose, the query. None of them
-- looks at all tasks.

-- name: server
-- the server, and whether it is a standby
select current_setting('server_version') as version, current_setting('server_version_num')::integer as number,
  current_user as role, pg_is_in_recovery() as in_recovery, current_setting('autovacuum') = 'on' as autovacuum;

-- name: routines
-- every function of ours as it stands in the database
select n.nspname as schema, p.proname as name, p.prosrc as body, p.prosecdef as is_definer,
  coalesce(p.proconfig, '{}') as settings, p.oid::regprocedure::text as signature
from pg_proc p join pg_namespace n on n.oid = p.pronamespace
where n.nspname = 'background_queue' or n.nspname = $1 and p.proname like 'pg\_background\_%'
order by 1, 2;

-- name: silent_triggers
-- triggers of ours that are disabled
select g.tgname as name, g.tgrelid::regclass::text as relation from pg_trigger g
where g.tgfoid in (select p.oid from pg_proc p where p.pronamespace = 'background_queue'::regnamespace)
  and g.tgenabled not in ('O', 'A');

-- name: workforce
-- supervisors, by whether their backend is there and when they were last seen; tasks due for anybody
select s.id, s.host, s.pid, s.version, s.seen_at < clock_timestamp() - background_queue.stale_after() as is_silent,
  not background_queue.backend_is_gone(s.backend_pid, s.role_oid, s.backend_started_at, s.server_started_at) as is_alive
from background_queue.supervisors s order by s.id;

-- name: is_due
-- whether a task is due that a claim could take
select exists (select from background_queue.heads(background_queue.waiting_roles(), null, '{}') h, background_queue.lanes q
  where h.is_due and q.lane = '' and not q.paused and q.max_running > 0) as is_due;

-- name: unserved
-- roles and lanes with due tasks that no living supervisor's workers may run
with live as materialized (select s from background_queue.live_supervisors() s)
select pg_get_userbyid(h.role) as role, h.lane, h.lane = '!' as is_renamed,
  not exists (select from live l where background_queue.may_run(l.s, h.role)) as is_role
from background_queue.heads(background_queue.waiting_roles(), null, '{}') h
where h.run_at <= clock_timestamp() and (h.lane = '!' or h.is_due) and exists (select from live)
  and (h.lane = '!' or not exists (select from live l
    where background_queue.may_run(l.s, h.role) and not (background_queue.lane_state(h.lane, (l.s).lanes)).is_shut))
order by 1, 2;

-- name: connections
-- what the living supervisors may open, and what the server has left; limits of -1 are none
select current_setting('max_connections')::integer - current_setting('superuser_reserved_connections')::integer
    - coalesce(current_setting('reserved_connections', true)::integer, 0) as places,
  (select count(*)::integer from pg_stat_activity a where a.datid is not null) as used,
  q.max_running as limit, s.supervisors, s.slots,
  (select count(*)::integer from background_queue.workers) + s.supervisors as ours,
  (select d.datconnlimit from pg_database d where d.datname = current_database()) as database_limit,
  (select r.rolconnlimit from pg_roles r where r.rolname = current_user) as role_limit
from background_queue.lanes q, (
  select count(*)::integer as supervisors, coalesce(sum(case l.concurrency when 0 then q.max_running else l.concurrency end), 0)::integer as slots
  from background_queue.live_supervisors() l, background_queue.lanes q where q.lane = '') s
where q.lane = '';

-- name: horizon
-- what keeps dead rows from being removed: kind, who, for how long, how many transactions back
select 'session' as kind, a.pid::text as who, a.usename as role, a.application_name, a.state,
  extract(epoch from clock_timestamp() - a.xact_start)::double precision as sec, age(a.backend_xmin) as age, t.id as task_id
from pg_stat_activity a left join background_queue.workers w on w.backend_pid = a.pid
left join :"schema".pg_background_tasks t on t.state = 'running' and t.worker_id = w.id
where a.datname = current_database() and a.pid <> pg_backend_pid() and a.xact_start is not null
  and (a.backend_xmin is not null or a.backend_xid is not null)
union all
select 'prepared', p.gid, p.owner, null, null, extract(epoch from clock_timestamp() - p.prepared)::double precision, age(p.transaction), null
from pg_prepared_xacts p where p.database = current_database()
union all
select 'slot', s.slot_name, null, null, null, null, age(s.xmin), null from pg_replication_slots s where s.xmin is not null
union all
select 'standby', r.pid::text, r.usename, r.application_name, r.state, null, age(r.backend_xmin), null
from pg_stat_replication r where r.backend_xmin is not null
order by age desc nulls last;

-- name: hidden_sessions
-- sessions here whose transactions this role may not see
select count(*)::integer as count from pg_stat_activity a
where a.datname = current_database() and not pg_has_role(current_user, 'pg_read_all_stats', 'usage')
  and not pg_has_role(current_user, a.usesysid, 'usage');

-- name: dead_rows
-- dead and live rows of our tables, as the server counts them, and whether autovacuum is off for one
select s.relid::regclass::text as relation, s.n_dead_tup as dead, s.n_live_tup as live,
  coalesce('autovacuum_enabled=false' = any (c.reloptions) or 'autovacuum_enabled=off' = any (c.reloptions), false) as is_off
from pg_stat_all_tables s join pg_class c on c.oid = s.relid
where s.schemaname = 'background_queue' or s.relid = ':"schema".pg_background_tasks'::regclass
order by s.n_dead_tup desc;

-- name: bloat
-- our tables and indexes that are $1 bytes and four times larger than their rows need, by the planner's statistics
with widths as (
  select a.attrelid as relid, a.attnum, coalesce(s.avg_width * (1 - s.null_frac), 8) as width
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
  join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
  left join pg_stats s on s.schemaname = n.nspname and s.tablename = c.relname and s.attname = a.attname
  where c.relkind = 'r' and (n.nspname = 'background_queue' or c.oid = ':"schema".pg_background_tasks'::regclass)),
needs as (
  select w.relid as oid, false as is_index, sum(w.width) + 28 as width from widths w group by w.relid
  union all
  select i.indexrelid, true, sum(coalesce(w.width, 16)) + 12
  from pg_index i cross join lateral unnest(i.indkey::smallint[]) k(attnum)
  left join widths w on w.relid = i.indrelid and w.attnum = k.attnum
  where i.indrelid in (select relid from widths) group by i.indexrelid)
select c.oid::regclass::text as relation, n.is_index, pg_relation_size(c.oid) as bytes,
  (c.reltuples * n.width / 0.7)::bigint as needed
from needs n join pg_class c on c.oid = n.oid
where c.reltuples >= 0 and pg_relation_size(c.oid) - c.reltuples * n.width / 0.7 > $1
  and pg_relation_size(c.oid) > 4 * c.reltuples * n.width / 0.7
order by 3 desc;

-- name: invalid_indexes
-- indexes that no query uses because their build did not end; is_busy: somebody may be building it now
select i.indexrelid::regclass::text as index, i.indrelid::regclass::text as relation,
  i.indrelid::regclass = ':"schema".pg_background_tasks'::regclass or c.relnamespace = 'background_queue'::regnamespace as is_ours,
  exists (select from pg_locks l where l.relation = i.indrelid and l.granted and l.pid <> pg_backend_pid()
    and l.mode in ('ShareUpdateExclusiveLock', 'ShareLock', 'AccessExclusiveLock')) as is_busy
from pg_index i join pg_class c on c.oid = i.indexrelid where not (i.indisvalid and i.indisready) order by 1;

-- name: orphans
-- tasks that count as running without a worker whose backend is there
select t.id from :"schema".pg_background_tasks t
where t.state = 'running' and background_queue.worker_is_gone(t.worker_id) order by t.id limit 20;

-- name: retention
-- the oldest closed task, how old one may become, and whether more are kept than may be; counted no further than needed
select v.days, v.keep, extract(epoch from clock_timestamp() - (
    select t.closed_at from :"schema".pg_background_tasks t where t.state in ('failed', 'finished', 'cancelled')
    order by t.closed_at, t.id limit 1))::double precision / 86400 as oldest_days,
  v.keep > 0 and (select count(*) from (select from :"schema".pg_background_tasks t
    where t.state in ('failed', 'finished', 'cancelled') limit v.keep + 10001) c) > v.keep + 10000 as is_over
from (select max(e.value) filter (where e.name = 'retention_in_days')::double precision as days,
  max(e.value) filter (where e.name = 'retention_max_tasks')::bigint as keep
  from background_queue.effective_values() e where e.lane = '') v;

-- name: pg_cron
-- whether pg_cron is here, and where it is if not
select to_regclass('cron.job') is not null as is_here, current_setting('cron.database_name', true) as elsewhere;

-- name: pg_cron_jobs
-- jobs of pg_cron that call the queue, and how the last run of each ended
select j.jobid as id, j.schedule, j.command, j.active as is_active, (
  select d.status || coalesce(': ' || d.return_message, '') from cron.job_run_details d
  where d.jobid = j.jobid and d.status in ('succeeded', 'failed') order by d.runid desc limit 1) as last
from cron.job j where j.command ilike '%background_queue%' order by j.jobid;

-- name: ownership
-- who asks, who owns the queue, and whether the one may act for the other
select current_user as role, pg_get_userbyid(i.owner_oid) as owner, pg_has_role(current_user, i.owner_oid, 'usage') as is_member
from background_queue.installed i;
