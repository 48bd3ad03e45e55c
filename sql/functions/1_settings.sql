-- Parameters: what is known, where a value comes from, and how values reach the claims.
-- A value is found in this order: topic stored, topic in the server setting topic_config, global stored,
-- server setting, built-in. Only values that pass background_queue.is_valid() count.

-- lane of a topic: '/' || topic; '/' for tasks without topic
create or replace function background_queue.topic_lane(p_topic text) returns text language sql immutable as
$$ select '/' || coalesce(p_topic, '') $$;

-- every parameter: built-in value, bounds, whether a topic may have its own
create or replace function background_queue.parameters()
returns table (name text, fallback text, low numeric, high numeric, per_topic boolean, kind text)
language sql stable as $$
  values
    ('max_parallel_running_tasks_count',
      greatest(current_setting('max_worker_processes')::integer / 2, 1)::text, 0, 10000, true, 'integer'),
    ('retry_count', '0', 0, 1000, true, 'integer'),
    ('delay_in_sec', '0', 0, 86400000, true, 'number'),
    ('priority', '100', -2147483648, 2147483647, true, 'integer'),
    ('timeout_in_sec', '0', 0, 2147483, true, 'number'),
    ('retry_max_delay_in_sec', '86400', 1, 2147483647, true, 'integer'),
    ('max_worker_deaths', '3', 0, 1000, true, 'integer'),
    ('max_tasks_per_commit', '1', 1, 50, true, 'integer'),
    ('paused', 'false', null, null, true, 'boolean'),
    ('retention_in_days', '30', 0, 36500, false, 'number'),
    ('retention_max_tasks', '0', 0, 1000000000000, false, 'integer')
$$;

-- what a parameter accepts, in words, or null when the value is accepted
create or replace function background_queue.refusal(p_name text, p_value text) returns text
language plpgsql stable as $$
declare
  v_parameter record;
begin
  select * into v_parameter from background_queue.parameters() p where p.name = p_name;
  if not found then
    return 'a known parameter';
  elsif v_parameter.kind = 'boolean' then
    return case when p_value in ('true', 'false', 'on', 'off') then null else 'true or false' end;
  elsif p_value ~ (case v_parameter.kind when 'integer' then '^-?[0-9]{1,15}$' else '^-?[0-9]{1,15}(\.[0-9]{1,9})?$' end)
        and p_value::numeric between v_parameter.low and v_parameter.high then
    return null;
  end if;
  return format('%s from %s to %s', case v_parameter.kind when 'integer' then 'an integer' else 'a number' end,
    v_parameter.low, v_parameter.high);
end $$;

create or replace function background_queue.is_valid(p_name text, p_value text) returns boolean
language sql stable as $$ select background_queue.refusal(p_name, p_value) is null $$;

-- a server setting pg_background_queue.<name> as this session's role and database have it now: ALTER ROLE and
-- ALTER DATABASE by their catalog (so without a new session), else postgresql.conf. '' counts as not set.
create or replace function background_queue.server_setting(p_name text) returns text language sql stable as $$
  select nullif(coalesce(
    (select substr(entry, length('pg_background_queue.' || p_name) + 2)
     from pg_catalog.pg_db_role_setting s, unnest(s.setconfig) entry
     where split_part(entry, '=', 1) = 'pg_background_queue.' || p_name
       and s.setdatabase in (0, (select oid from pg_catalog.pg_database where datname = current_database()))
       and s.setrole in (0, (select oid from pg_catalog.pg_roles where rolname = session_user))
     order by s.setrole = 0, s.setdatabase = 0 limit 1),
    current_setting('pg_background_queue.' || p_name, true)), '')
$$;

-- names of the settings that ALTER ROLE or ALTER DATABASE give to this role here. A session that began under one
-- keeps it after a RESET; only a new session sees what holds then.
create or replace function background_queue.role_settings() returns text[] language sql stable as $$
  select coalesce(array_agg(distinct split_part(entry, '=', 1)), '{}')
  from pg_catalog.pg_db_role_setting s, unnest(s.setconfig) entry
  where entry like 'pg\_background\_queue.%'
    and s.setdatabase in (0, (select oid from pg_catalog.pg_database where datname = current_database()))
    and s.setrole in (0, (select oid from pg_catalog.pg_roles where rolname = session_user))
$$;

-- a JSON object, or null with a warning that names the setting
create or replace function background_queue.parse_topic_config(p_text text) returns jsonb language plpgsql stable as $$
declare
  v_config jsonb;
begin
  v_config := p_text::jsonb;
  if jsonb_typeof(v_config) <> 'object' then
    raise warning 'pg_background_queue.topic_config is ignored: expected a JSON object of topics';
    return null;
  end if;
  return v_config;
exception when data_exception or statement_too_complex then
  raise warning 'pg_background_queue.topic_config is ignored: it is not valid JSON: %', sqlerrm;
  return null;
end $$;

-- one row for each value that a source gives: lane, name, value, source; 1 is looked at first
create or replace function background_queue.given_values()
returns table (lane text, name text, value text, source text, rank integer) language plpgsql stable as $$
declare
  v_config jsonb := background_queue.parse_topic_config(background_queue.server_setting('topic_config'));
begin
  return query
    select s.lane, s.name, s.value, 'stored', 1 from background_queue.settings s
    union all
    select background_queue.topic_lane(t.key), p.key, p.value, 'topic_config', 2
    from jsonb_each(v_config) t, jsonb_each_text(case jsonb_typeof(t.value) when 'object' then t.value else '{}' end) p
    where length(t.key) <= 200
    union all
    select '', p.name, background_queue.server_setting(p.name), 'server', 2 from background_queue.parameters() p
    union all
    select '', p.name, p.fallback, 'default', 3 from background_queue.parameters() p;
end $$;

-- the values in force, with their source; a topic's only where it has one of its own
create or replace function background_queue.effective_values()
returns table (lane text, name text, value text, source text) language sql stable
set search_path = pg_catalog, pg_temp as $$
  select distinct on (g.lane, g.name) g.lane, g.name,
    case p.kind when 'boolean' then (g.value::boolean)::text else g.value end, g.source
  from background_queue.given_values() g join background_queue.parameters() p using (name)
  where background_queue.is_valid(g.name, g.value) and (g.lane = '' or p.per_topic)
  order by g.lane, g.name, g.rank
$$;

-- what is given but cannot be obeyed: source, what it says, what was expected
create or replace function background_queue.setting_problems()
returns table (source text, lane text, name text, value text, expected text) language plpgsql stable
set search_path = pg_catalog, pg_temp as $$
declare
  v_text text := background_queue.server_setting('topic_config');
  v_config jsonb := background_queue.parse_topic_config(v_text);
begin
  return query
    select g.source, g.lane, g.name, g.value, coalesce(background_queue.refusal(g.name, g.value), 'no topic of its own')
    from background_queue.given_values() g left join background_queue.parameters() p using (name)
    where g.value is not null and (not background_queue.is_valid(g.name, g.value) or (g.lane <> '' and not p.per_topic))
    union all
    select 'topic_config', background_queue.topic_lane(t.key), null, t.value::text, 'an object of parameters'
    from jsonb_each(v_config) t where jsonb_typeof(t.value) <> 'object'
    union all
    select 'topic_config', null, null, left(v_text, 200), 'a JSON object of topics'
    where v_text is not null and v_config is null;
end $$;

-- the lanes as the settings and the supervisors' --topic flags want them
create or replace function background_queue.wanted_lanes() returns setof background_queue.lanes language sql stable as $$
  with v as materialized (select * from background_queue.effective_values()),
  served as (select distinct unnest(s.lanes) as lane from background_queue.supervisors s),
  delay as (select exists (select from v where v.lane = '' and v.name = 'delay_in_sec' and v.value::numeric > 0) as everywhere)
  select l.lane,
    l.lane <> '' and (d.everywhere or exists (select from served where served.lane = l.lane) or exists (
      select from v where v.lane = l.lane and v.name in ('max_parallel_running_tasks_count', 'delay_in_sec', 'paused'))),
    false,
    max(v.value) filter (where v.name = 'max_parallel_running_tasks_count')::integer,
    max(v.value) filter (where v.name = 'retry_count')::integer,
    max(v.value) filter (where v.name = 'delay_in_sec')::double precision,
    max(v.value) filter (where v.name = 'timeout_in_sec')::double precision,
    max(v.value) filter (where v.name = 'retry_max_delay_in_sec')::integer,
    max(v.value) filter (where v.name = 'max_worker_deaths')::integer,
    max(v.value) filter (where v.name = 'max_tasks_per_commit')::integer,
    max(v.value) filter (where v.name = 'paused')::boolean
  from (select v.lane from v union select served.lane from served) l cross join delay d left join v on v.lane = l.lane
  group by l.lane, d.everywhere
$$;

-- Make the lanes equal to the settings; true if something changed. The gate keeps claims out while a limit moves.
create or replace function background_queue.sync_lanes() returns boolean language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
  v_wanted background_queue.lanes[] := array(select w from background_queue.wanted_lanes() w);
begin
  if not exists (
       (select * from unnest(v_wanted) except select * from background_queue.lanes)
       union all
       (select * from background_queue.lanes where not implicit except select * from unnest(v_wanted))) then
    return false;
  end if;
  lock table background_queue.claim_gate in exclusive mode;
  delete from background_queue.lanes l where l.lane not in (select w.lane from unnest(v_wanted) w);
  insert into background_queue.lanes select * from unnest(v_wanted)
  on conflict (lane) do update set separate = excluded.separate, implicit = false, max_running = excluded.max_running,
    retry_count = excluded.retry_count, delay_in_sec = excluded.delay_in_sec, timeout_in_sec = excluded.timeout_in_sec,
    retry_max_delay_in_sec = excluded.retry_max_delay_in_sec, max_worker_deaths = excluded.max_worker_deaths,
    max_tasks_per_commit = excluded.max_tasks_per_commit, paused = excluded.paused;
  update background_queue.queue set lanes_changed = lanes_changed + 1;
  return true;
end $$;

-- the lane that a task of this topic waits in now
create or replace function background_queue.lane_of(p_topic text) returns text language plpgsql stable as $$
declare
  v_lane text := '/' || coalesce(p_topic, '');
begin
  if exists (select from background_queue.lanes l where l.lane = v_lane and l.separate)
     or exists (select from background_queue.lanes l where l.lane = '' and l.delay_in_sec > 0) then
    return v_lane;
  end if;
  return '';
end $$;

-- Move up to p_limit waiting tasks into the lane where they now belong; returns how many moved. To look for them is to
-- read all that wait, so nothing is looked at where none was found since the lanes last changed. One that is missed then,
-- of a transaction that still saw the old lanes or locked by somebody, is moved when it is to be claimed from '', and is
-- claimed from a lane that limits nothing any more.
create or replace function background_queue.relane(p_limit integer) returns integer language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
  v_changed bigint;
  v_moved integer;
begin
  select q.lanes_changed into v_changed from background_queue.queue q where q.lanes_settled < q.lanes_changed;
  if not found then
    return 0;
  end if;
  with misplaced as (
    select t.id, background_queue.lane_of(t.topic) as lane from :"schema".pg_background_tasks t
    left join background_queue.lanes l on l.lane = '/' || coalesce(t.topic, '')
    cross join (select delay_in_sec > 0 as everywhere from background_queue.lanes where lane = '') d
    where t.state in ('pending', 'retrying') and t.lane <> '!'
      and t.lane <> case when d.everywhere or coalesce(l.separate, false) then '/' || coalesce(t.topic, '') else '' end
    limit p_limit for no key update of t skip locked)
  update :"schema".pg_background_tasks t set lane = m.lane from misplaced m where t.id = m.id;
  get diagnostics v_moved = row_count;
  if v_moved = 0 then
    update background_queue.queue q set lanes_settled = v_changed
    where q.only_row = (select k.only_row from background_queue.queue k for update skip locked);
  end if;
  return v_moved;
end $$;

-- Where a new task of this topic waits: its lane as lane_of() finds it, and its priority, resolved in the enqueuer's
-- session where the task has none of its own.
create or replace function background_queue.place_of(p_topic text, p_priority integer, out lane text, out priority integer)
language plpgsql stable as $$
declare
  v_lane text := '/' || coalesce(p_topic, '');
  v_text text; v_value text; v_stored text;
begin
  select case when exists (select from background_queue.lanes l where l.lane in (v_lane, '')
      and (l.separate or l.lane = '' and l.delay_in_sec > 0)) then v_lane else '' end,
    (select s.value from background_queue.settings s where s.lane = v_lane and s.name = 'priority'),
    (select s.value from background_queue.settings s where s.lane = '' and s.name = 'priority')
  into lane, v_value, v_stored;
  priority := p_priority;
  if priority is not null then
    return;
  end if;
  v_text := nullif(current_setting('pg_background_queue.topic_config', true), '');
  if v_value is null and v_text is not null then
    v_value := background_queue.parse_topic_config(v_text) -> coalesce(p_topic, '') ->> 'priority';
    if v_value is not null and not background_queue.is_valid('priority', v_value) then
      raise warning 'The priority "%" of topic "%" in pg_background_queue.topic_config is ignored: expected %',
        v_value, coalesce(p_topic, ''), background_queue.refusal('priority', v_value);
      v_value := null;
    end if;
  end if;
  v_value := coalesce(v_value, v_stored);
  if v_value is null then
    v_value := nullif(current_setting('pg_background_queue.priority', true), '');
    if v_value is not null and not background_queue.is_valid('priority', v_value) then
      raise warning 'pg_background_queue.priority "%" is ignored: expected %', v_value,
        background_queue.refusal('priority', v_value);
      v_value := null;
    end if;
  end if;
  priority := coalesce(v_value::integer, 100);
end $$;

-- Store one value (null removes it) and put it in force at once.
create or replace function background_queue.set_parameter(p_lane text, p_name text, p_value text) returns void
language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
  if p_value is null then
    delete from background_queue.settings s where s.lane = p_lane and s.name = p_name;
  elsif not background_queue.is_valid(p_name, p_value) then
    raise exception using errcode = 'PQ020', message = format('Expected %s to be %s, got "%s"', p_name,
      background_queue.refusal(p_name, p_value), p_value);
  elsif p_lane <> '' and p_name in (select p.name from background_queue.parameters() p where not p.per_topic) then
    raise exception using errcode = 'PQ020',
      message = format('The parameter %s is for the whole queue, not for a topic', p_name);
  else
    insert into background_queue.settings values (p_lane, p_name, p_value)
    on conflict (lane, name) do update set value = excluded.value;
  end if;
  if background_queue.sync_lanes() then
    perform pg_notify('background_queue', 'settings');
  end if;
end $$;
