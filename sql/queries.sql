-- Named read-only queries: a line `-- name: <name>`, a line of purpose, the query.

-- name: installation
-- what stands in this database: our version and schema, the C extension, the server's identity
select
  (select extversion from pg_extension where extname = 'pg_background_queue') as extension,
  to_regclass('background_queue.migrations') is not null as installed,
  current_database() as database, current_user as role,
  current_setting('server_version_num')::integer as server_version,
  pg_is_in_recovery() as in_recovery;

-- name: functions
-- functions of ours, each with a state that changes when it is replaced, and whether something depends on it
select p.oid::text || ' ' || p.xmin::text || ' ' || p.cmin::text as state, p.oid::regprocedure::text as signature,
  exists (select from pg_depend d where d.refclassid = 'pg_proc'::regclass and d.refobjid = p.oid) as is_held
from pg_proc p where p.pronamespace = 'background_queue'::regnamespace and pg_get_userbyid(p.proowner) = current_user;

-- name: identity
-- the server and database this queue was installed in, and those it finds itself in
select q.system_identifier::text = c.system_identifier::text and q.database_oid = d.oid as is_same
from background_queue.queue q, pg_control_system() c, pg_database d where d.datname = current_database();

-- name: state_counts
-- tasks by topic and state
select topic, state::text, count(*)::integer as count from :"schema".pg_background_tasks group by topic, state;

-- name: workers
-- registered workers and what each runs
select w.id, w.host, w.pid, w.backend_pid, w.role,
  case when t.id is null then 'idle' else 'running' end as state, t.id as task_id,
  coalesce(t.started_at, w.registered_at) as since
from background_queue.workers w left join :"schema".pg_background_tasks t on t.worker_id = w.id and t.state = 'running'
order by w.id;

-- name: supervisors
-- supervisors whose connection is there
select s.id, s.host, s.pid, s.version, s.concurrency, s.started_at, s.lanes from background_queue.supervisors s
where not background_queue.backend_is_gone(s.backend_pid, s.role_oid, s.backend_started_at, s.server_started_at)
order by s.id;

-- name: oldest_due
-- seconds since the oldest due task became due, null if none is
select extract(epoch from clock_timestamp() - min(run_at))::double precision as sec
from :"schema".pg_background_tasks where state in ('pending', 'retrying') and run_at <= clock_timestamp();

-- name: watch
-- One look of `status --watch`, as one JSON. However large the table, at most 10,000 rows of a kind are read, by the
-- partial indexes, and the sample's blocks. Closings of the last $1 seconds; tasks of the topics $2 (null: no tasks,
-- {}: of all) in the states $3 (null: all); one task $4; counts in $5 percent of the blocks, always the same ones.
with recursive clock as materialized (select clock_timestamp() as now),
waiting as materialized (
  select t.id, t.topic, t.state, t.priority, t.run_at from :"schema".pg_background_tasks t
  where t.state in ('pending', 'retrying') limit 10001),
running as materialized (
  select t.id, t.topic, t.state, t.worker_id, t.started_at, t.end_requested, left(t.sql_statement, 300) as sql
  from :"schema".pg_background_tasks t where t.state = 'running'),
closings as materialized (
  select t.topic, t.state, t.closed_at from :"schema".pg_background_tasks t
  where t.state in ('failed', 'finished', 'cancelled')
    and t.closed_at > (select now from clock) - $1::double precision * interval '1 second'
  order by t.closed_at desc limit 10001),
counts as (
  select topic, state, count(*) as count, extract(epoch from max(now - run_at) filter (where run_at <= now)) as due
  from waiting, clock group by topic, state
  union all select topic, state, count(*), null from running group by topic, state),
sample as (
  select topic, state, count(*) as count,
    extract(epoch from max(now - run_at) filter (where state in ('pending', 'retrying') and run_at <= now)) as due
  from :"schema".pg_background_tasks tablesample system ($5::real) repeatable (0), clock group by topic, state),
-- where too many wait to look at each, the oldest of each role, lane and priority (1000 of these): the oldest of all is among them
heads as (
  (select t.enqueued_by_oid as role, t.lane, t.priority, t.run_at, t.topic, 1 as n
   from :"schema".pg_background_tasks t
   where t.state in ('pending', 'retrying') and (select count(*) > 10000 from waiting)
   order by t.enqueued_by_oid, t.lane, t.priority, t.run_at, t.id limit 1)
  union all
  select next.* from heads h cross join lateral (
    select t.enqueued_by_oid, t.lane, t.priority, t.run_at, t.topic, h.n + 1 from :"schema".pg_background_tasks t
    where t.state in ('pending', 'retrying') and (t.enqueued_by_oid, t.lane, t.priority) > (h.role, h.lane, h.priority)
    order by t.enqueued_by_oid, t.lane, t.priority, t.run_at, t.id limit 1) next
  where h.n < 1000),
listed as (
  (select id, topic, state, started_at as at, 1 as place, row_number() over (order by started_at, id) as rank
   from running where $2::text[] is not null)
  union all
  (select id, topic, state, run_at, 2, row_number() over (order by priority, run_at, id) from waiting where $2::text[] is not null)
  union all
  (select id, topic, state, closed_at, 3, row_number() over (order by closed_at desc, id desc) from (
    select t.id, t.topic, t.state, t.closed_at from :"schema".pg_background_tasks t
    where $2::text[] is not null and t.state in ('failed', 'finished', 'cancelled')
    order by t.closed_at desc, t.id desc limit 10000) closed)),
tasks as (
  select * from listed
  where ($2::text[] = '{}' or coalesce(topic, '') = any ($2::text[])) and ($3::text[] is null or state::text = any ($3::text[]))
  order by place, rank limit 300)
select json_build_object(
  'now', extract(epoch from now),
  'blocks', pg_relation_size(':"schema".pg_background_tasks') / current_setting('block_size')::integer,
  'isWaitingWhole', (select count(*) <= 10000 from waiting),
  'counts', (select coalesce(json_agg(c), '[]') from counts c),
  'sample', (select coalesce(json_agg(s), '[]') from sample s),
  'oldest', (select coalesce(json_agg(o), '[]') from (
    select topic, extract(epoch from max(now - run_at)) as due from heads, clock where run_at <= now group by topic) o),
  'closings', (select coalesce(json_agg(c), '[]') from (
    select floor(extract(epoch from closed_at)) as second, topic, state, count(*) as count from closings group by 1, 2, 3) c),
  'supervisors', (select count(*) from background_queue.supervisors s
    where not background_queue.backend_is_gone(s.backend_pid, s.role_oid, s.backend_started_at, s.server_started_at)),
  'workers', (select coalesce(json_agg(json_build_object('id', w.id::text, 'host', w.host, 'pid', w.pid, 'task', r.id::text,
      'topic', r.topic, 'sec', extract(epoch from now - coalesce(r.started_at, w.registered_at)), 'ends', r.end_requested,
      'sql', r.sql) order by r.started_at, w.id), '[]')
    from background_queue.workers w left join running r on r.worker_id = w.id),
  'lanes', (select json_agg(json_build_object('lane', lane, 'max_running', max_running, 'delay_in_sec', delay_in_sec,
      'paused', paused)) from background_queue.lanes where not implicit),
  'tasks', (select coalesce(json_agg(json_build_object('id', l.id::text, 'topic', l.topic, 'state', l.state,
      'sec', extract(epoch from now - l.at), 'took', extract(epoch from t.closed_at - t.started_at),
      'sql', left(t.sql_statement, 300)) order by l.place, l.rank), '[]')
    from tasks l join :"schema".pg_background_tasks t on t.id = l.id),
  'task', (select json_build_object('id', t.id::text, 'state', t.state, 'sql', left(t.sql_statement, 8000),
      'bytes', octet_length(t.sql_statement), 'errors', left(t.errors, 4000),
      'row', to_jsonb(t) - array['id', 'state', 'sql_statement', 'errors', 'token_hash', 'lane', 'enqueued_by_oid'],
      'attempts', (select coalesce(json_agg(a), '[]') from (
        select a.ended_at, a.outcome, a.sqlstate, left(a.message, 300) as message
        from background_queue.attempts a where a.task_id = t.id order by a.id desc limit 20) a))
    from :"schema".pg_background_tasks t where t.id = $4::bigint)
) as look from clock;

-- name: known_topics
-- topics that a person may want to name: of settings, waiting tasks and the last that closed, without a look at all rows
select distinct topic from (
  select substr(lane, 2) as topic from background_queue.lanes where lane like '/_%'
  union all (select topic from :"schema".pg_background_tasks where state in ('pending', 'retrying') limit 5000)
  union all select topic from :"schema".pg_background_tasks where state = 'running'
  union all (select topic from :"schema".pg_background_tasks where state in ('failed', 'finished', 'cancelled')
    order by closed_at desc limit 5000)) t
where topic is not null order by topic limit 1000;

-- name: known_parameters
-- names of all parameters
select name from background_queue.parameters();

-- name: known_tasks
-- the newest tasks in the states $1 (null: all), in a few words
select id, concat_ws(' ', state, topic, left(sql_statement, 60)) as text from :"schema".pg_background_tasks
where $1:::"schema".pg_background_queue_task_state[] is null or state = any ($1) order by id desc limit 50;

-- name: recent_failures
-- the failed tasks that ended last
select id, topic, closed_at, errors from :"schema".pg_background_tasks
where state = 'failed' order by closed_at desc limit 5;

-- name: stranded_roles
-- due tasks of roles for which no worker is registered, or that were renamed since (lane '!')
select t.enqueued_by as role, count(*)::integer as count from :"schema".pg_background_tasks t
where t.state in ('pending', 'retrying') and t.run_at <= clock_timestamp() and (t.lane = '!'
  or not exists (select from background_queue.workers w where w.sets_role or w.role_oid = t.enqueued_by_oid))
group by t.enqueued_by order by t.enqueued_by;

-- name: tasks
-- tasks by id, newest first: states or null, topics or null ('' is no topic), limit
select * from :"schema".pg_background_tasks
where ($1:::"schema".pg_background_queue_task_state[] is null or state = any ($1)) and ($2::text[] is null or coalesce(topic, '') = any ($2))
order by id desc limit $3;

-- name: task
-- one task
select * from :"schema".pg_background_tasks where id = $1;

-- name: task_columns
-- the columns of a task, for a table without rows
select attname as name from pg_attribute
where attrelid = ':"schema".pg_background_tasks'::regclass and attnum > 0 and not attisdropped order by attnum;

-- name: attempts
-- what is kept of a task's attempts
select id, outcome, started_at, ended_at, sqlstate, message, detail, hint, context, position, host, worker_pid, backend_pid
from background_queue.attempts where task_id = $1 order by id;

-- name: log_lines
-- What tasks said and how their attempts ended, in order: of one task $1 or null, of topics $2 or null ('' is no topic),
-- at most $3 seconds old or null, the newest $4; notices behind $5, attempts behind $6. Of a topic, among the newest
-- 100,000 of each.
with said as (
  select n.* from (select * from background_queue.notices n where ($1::bigint is null or n.task_id = $1) and n.id > $5
    order by n.id desc limit case when $2::text[] is null then $4::integer else 100000 end) n),
ended as (
  select a.* from (select * from background_queue.attempts a where ($1::bigint is null or a.task_id = $1) and a.id > $6
    order by a.id desc limit case when $2::text[] is null then $4::integer else 100000 end) a),
lines as (
  select 'notice' as source, id, task_id, attempt, seq, at, severity as kind, code as sqlstate, message, detail, hint,
    statement, rows, max(at) over (order by id) as place from said
  union all
  select 'attempt', id, task_id, null, null, ended_at, outcome, sqlstate, message, detail, hint, null, null,
    max(ended_at) over (order by id) from ended)
select * from (
  select l.source, l.id, l.task_id, t.topic, l.attempt, l.seq, l.at, l.kind, l.sqlstate, l.message, l.detail, l.hint,
    l.statement, l.rows, l.place
  from lines l join :"schema".pg_background_tasks t on t.id = l.task_id
  where ($2::text[] is null or coalesce(t.topic, '') = any ($2))
    and ($3::double precision is null or l.at >= clock_timestamp() - $3 * interval '1 second')
  order by l.place desc, l.source, l.id desc limit $4) newest
order by place, source desc, id;

-- name: log_marks
-- where those who follow begin: the last notice, and the last attempts, whose ids may be seen out of their order
select coalesce((select max(id) from background_queue.notices), 0) as notice,
  array(select id from background_queue.attempts order by id desc limit 100) as attempts;

-- name: settings
-- every parameter in force for the queue and for each topic that has its own
select v.lane, v.name, v.value, v.source from background_queue.effective_values() v
join (select p.name, row_number() over () as place from background_queue.parameters() p) p using (name)
order by v.lane, p.place;

-- name: setting_problems
-- what is given but cannot be obeyed
select source, lane, name, value, expected from background_queue.setting_problems();

-- name: left_behind
-- what a drained supervisor did not run, by reason: roles it cannot run, lanes it serves (null: all)
select case
    when t.lane = '!' or t.enqueued_by = any ($1::name[]) then 'no worker may run as role ' || t.enqueued_by
    when q.paused or coalesce(l.paused, false) then 'paused'
    when q.max_running = 0 or l.max_running = 0 then 'limit 0'
    else 'due later' end as reason, t.topic, count(*)::integer as count
from background_queue.lanes q, :"schema".pg_background_tasks t
left join background_queue.lanes l on l.lane = '/' || coalesce(t.topic, '')
where q.lane = '' and t.state in ('pending', 'retrying')
  and ($2::text[] is null or '/' || coalesce(t.topic, '') = any ($2))
group by 1, 2 order by 1, 2;

-- name: rights_problems
-- rights that are not as an install leaves them
select object, grantee, privilege, problem from background_queue.rights_problems() order by problem;

-- name: supervisor_role
-- whether this role, or the queue's owner, is a superuser
select r.rolname as role, r.rolsuper as is_super, o.rolname as owner, o.rolsuper as owner_is_super
from pg_roles r, background_queue.installed i join pg_roles o on o.oid = i.owner_oid where r.rolname = current_user;

-- name: prune_count
-- closed tasks up to this one: closed_at, id
select count(*) as count from :"schema".pg_background_tasks
where state in ('failed', 'finished', 'cancelled') and (closed_at, id) <= ($1::timestamptz, $2::bigint);

-- name: failed_ids
-- failed tasks: topics or null ('' is no topic), ended within so many seconds or null
select id from :"schema".pg_background_tasks
where state = 'failed' and ($1::text[] is null or coalesce(topic, '') = any ($1))
  and closed_at >= coalesce(statement_timestamp() - $2::double precision * interval '1 second', '-infinity') order by id;

-- name: running_count
-- running tasks: of one topic ('' is no topic), or null for all
select count(*) as count from :"schema".pg_background_tasks
where state = 'running' and ($1::text is null or coalesce(topic, '') = $1);

-- name: live_sessions
-- supervisors and workers whose backends are there
select 'supervisor' as kind, s.host, s.pid, s.backend_pid from background_queue.supervisors s
where not background_queue.backend_is_gone(s.backend_pid, s.role_oid, s.backend_started_at, s.server_started_at)
union all
select 'worker', w.host, w.pid, w.backend_pid from background_queue.workers w where not background_queue.worker_is_gone(w.id);

-- name: dependents
-- what others have built upon the queue's inner tables and would be dropped with them
select distinct 'view ' || v.oid::regclass as object
from pg_depend d join pg_rewrite r on d.classid = 'pg_rewrite'::regclass and r.oid = d.objid join pg_class v on v.oid = r.ev_class
join pg_class t on d.refclassid = 'pg_class'::regclass and t.oid = d.refobjid
where t.relnamespace = 'background_queue'::regnamespace and v.relnamespace <> 'background_queue'::regnamespace
union
select 'foreign key of ' || c.conrelid::regclass from pg_constraint c join pg_class t on t.oid = c.confrelid
where c.contype = 'f' and t.relnamespace = 'background_queue'::regnamespace
order by object;
