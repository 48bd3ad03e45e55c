-- All SQL of `pgbq torture`: work whose effects can be audited, and the audit.
--   -- arena <name>: what is built in the scratch database, run in order, by the queue's owner
--   -- audit <name>: a query that is read when the queue has come to rest

-- arena ledger: what tasks leave behind
create schema torture;
create table torture.faults (kind text not null, began_at timestamptz not null, ended_at timestamptz not null);
-- one row for each task, written in the transaction that enqueued it; fault: the last one before
create table torture.tasks (n bigint generated always as identity primary key, task_id bigint not null, kind text not null,
  topic text not null, role name not null default current_user, fault text not null);
-- one row for each run that committed. No unique key: a second effect must be able to show itself.
create table torture.ledger (n bigint not null, attempt integer, topic text not null, role name not null default current_user,
  login name not null default session_user, backend integer not null default pg_backend_pid(),
  started_at timestamptz not null, ended_at timestamptz not null default clock_timestamp(),
  running_in_topic integer not null, running integer not null, is_double boolean not null,
  commit xid8 not null default pg_current_xact_id());
create table torture.steps (n bigint not null, step integer not null);
create table torture.accounts (id integer primary key, balance bigint not null);
insert into torture.accounts select n, 1000 from generate_series(1, 50) n;
create table torture.dust (n integer);
create table torture.parents (n bigint primary key);
create table torture.orphans (n bigint references torture.parents deferrable initially deferred);
create table torture.owner_only (n bigint not null);
-- limits in force: topic '' is the whole queue; until: when the next value was set
create table torture.limits (topic text not null, value integer not null, since timestamptz not null default clock_timestamp(),
  until timestamptz not null default 'infinity');

-- arena work: what tasks do
-- Runs for p_ms and leaves its row. While it runs it holds session locks, which end with it or with its backend and
-- not before: whoever starts sees by them how many run in truth, and whether this very task runs already. The locks
-- end before the queue's own finish, so that a count above a limit is a fact; it is taken twice all the same, for an
-- error may end a run some moments before its session is cleaned.
create function torture.work(p_n bigint, p_topic text, p_ms double precision) returns void language plpgsql as $$
declare
  v_started_at timestamptz := clock_timestamp();
  v_is_double boolean;
  v_count record;
  v_again record;
begin
  v_is_double := not pg_try_advisory_lock(77001, p_n::integer);
  perform pg_advisory_lock_shared(77002, hashtext(p_topic));
  v_count := torture.count_running(p_topic);
  perform pg_sleep(least(p_ms, 30) / 1000);
  v_again := torture.count_running(p_topic);
  if v_is_double then
    v_is_double := (select count(*) > 0 from pg_locks l where l.locktype = 'advisory' and l.classid = 77001
      and l.objid = p_n::integer and l.granted and l.pid <> pg_backend_pid());
  end if;
  perform pg_sleep(greatest(p_ms - 30, 0) / 1000);
  perform pg_advisory_unlock_all();
  insert into torture.ledger (n, attempt, topic, started_at, running_in_topic, running, is_double)
  values (p_n, torture.attempt(p_n), p_topic, v_started_at, least(v_count.in_topic, v_again.in_topic),
    least(v_count.everywhere, v_again.everywhere), v_is_double);
exception when query_canceled or others then
  perform pg_advisory_unlock_all();
  raise;
end $$;
create function torture.count_running(p_topic text, out in_topic integer, out everywhere integer) language sql volatile as $$
  select count(*) filter (where l.objid::bigint = hashtext(p_topic)::bigint & 4294967295), count(*)
  from pg_locks l where l.locktype = 'advisory' and l.classid = 77002 and l.granted
    and l.database = (select d.oid from pg_database d where d.datname = current_database())
$$;
create function torture.attempt(p_n bigint) returns integer language sql stable as $$
  select q.retry_count + q.rescues + 1 from torture.tasks t join :"schema".pg_background_tasks q on q.id = t.task_id where t.n = p_n
$$;
create function torture.transfer(p_n bigint, p_topic text, p_ms double precision) returns void language plpgsql as $$
declare
  v_from integer := p_n % 50 + 1;
  v_to integer := (p_n * 7 + 3) % 50 + 1;
begin
  perform torture.work(p_n, p_topic, p_ms);
  -- in the order of their ids, so that no two transfers wait for each other
  perform from torture.accounts where id in (v_from, v_to) order by id for update;
  update torture.accounts set balance = balance - p_n % 97 where id = v_from;
  update torture.accounts set balance = balance + p_n % 97 where id = v_to;
end $$;
create function torture.fail_first(p_n bigint) returns void language plpgsql as $$
begin
  if (select q.retry_count from torture.tasks t join :"schema".pg_background_tasks q on q.id = t.task_id where t.n = p_n) = 0 then
    raise exception 'the first attempt of % fails on purpose', p_n;
  end if;
end $$;
-- What a role may not do, tried from inside its own task.
create function torture.trespass(p_n bigint) returns void language plpgsql as $$
declare
  v_attack text;
begin
  foreach v_attack in array array['reset role', 'set session authorization default',
    format('insert into torture.owner_only values (%s)', p_n),
    format('update :"schema".pg_background_tasks set errors = null where id <> %s', p_n),
    'delete from background_queue.workers', 'lock table background_queue.claim_gate in exclusive mode'] loop
    begin
      execute v_attack;
    exception when insufficient_privilege then null;
    end;
  end loop;
end $$;
-- Enqueues a task of a kind and notes it in the same transaction.
create function torture.enqueue(p_kind text, p_topic text, p_ms double precision, p_fault text) returns bigint
language plpgsql as $$
declare
  v_n bigint := nextval('torture.tasks_n_seq');
  v_work text := format('select torture.work(%s, %L, %s)', v_n, p_topic, p_ms);
  v_id bigint;
begin
  v_id := :"schema".pg_background_enqueue(case p_kind
    when 'plain' then v_work
    when 'transfer' then format('select torture.transfer(%s, %L, %s)', v_n, p_topic, p_ms)
    when 'failing' then v_work || '; select 1 / 0'
    when 'flaky' then v_work || format('; select torture.fail_first(%s)', v_n)
    when 'deferred' then format('insert into torture.orphans values (%s); ', v_n) || v_work
    when 'trespass' then format('select torture.trespass(%s); ', v_n) || v_work
    when 'autocommit' then format('insert into torture.steps values (%s, 1); vacuum torture.dust; insert into torture.steps values (%1$s, 2)', v_n)
    end, p_topic, jsonb_build_object('max_retries', case when p_kind = 'flaky' then 2 else 0 end));
  insert into torture.tasks (n, task_id, kind, topic, fault) overriding system value
  values (v_n, v_id, p_kind, p_topic, p_fault);
  return v_id;
end $$;

-- arena judged: what became of each task
create view torture.judged as
with effects as (
  select t.*, q.state::text, q.errors,
    case t.kind when 'autocommit' then (select coalesce(max(c), 0) from (
           select count(*) as c from torture.steps s where s.n = t.n group by s.step) s)
      else (select count(*) from torture.ledger l where l.n = t.n) end as effects,
    case t.kind when 'autocommit' then (select count(distinct s.step) from torture.steps s where s.n = t.n) = 2
      else exists (select from torture.ledger l where l.n = t.n) end as is_done
  from torture.tasks t left join :"schema".pg_background_tasks q on q.id = t.task_id)
select e.*, e.kind in ('failing', 'deferred') as should_fail, e.errors like 'The task killed its worker%' as is_killer,
  exists (select from background_queue.attempts a
    -- a run that it met, however late its end was written
    join torture.faults f on a.ended_at > f.began_at - interval '1 s'
      and least(a.started_at, a.ended_at - interval '3 s') < f.ended_at
    where a.task_id = e.task_id and a.outcome = 'failed' and f.kind = 'full'
      and left(a.sqlstate, 2) in ('53', '55', '57', '58', '25')) as is_excused
from effects e;

-- audit tasks: by the fault before them
select fault, count(*)::integer as tasks,
  count(*) filter (where state = 'finished')::integer as finished,
  count(*) filter (where state is null or (state = 'finished' and not is_done))::integer as lost,
  count(*) filter (where effects > 1 or (kind <> 'autocommit' and effects > 0 and state is distinct from 'finished'))::integer as duplicated,
  count(*) filter (where state in ('pending', 'running', 'retrying'))::integer as stuck,
  count(*) filter (where state = 'failed' and is_killer)::integer as killers,
  count(*) filter (where state = 'failed' and not is_killer and is_excused and not should_fail)::integer as excused,
  count(*) filter (where (state = 'failed' and not is_killer and not is_excused and not should_fail)
    or (state = 'finished' and should_fail))::integer as wrong
from torture.judged group by fault

-- audit limits: runs that began while more ran than any limit of the last seconds allowed
select t.fault, count(*)::integer as over from torture.ledger l join torture.tasks t using (n)
where l.running_in_topic > (select max(m.value) from torture.limits m
        where m.topic = l.topic and m.since <= l.started_at and m.until > l.started_at - interval '3 s')
  or l.running > (select max(m.value) from torture.limits m
        where m.topic = '' and m.since <= l.started_at and m.until > l.started_at - interval '3 s')
group by t.fault

-- audit most: most at once by topic
select topic, max(running_in_topic) as most, (select max(running) from torture.ledger) as most_of_all from torture.ledger group by topic

-- audit shared: effects that committed together with another's
select count(*) filter (where n > 1)::integer as shared from (select count(*) over (partition by commit) as n from torture.ledger) l

-- audit doubles: runs of a task that began while another run of it was going on
select t.fault, count(*)::integer as doubles from torture.ledger l join torture.tasks t using (n) where l.is_double group by t.fault

-- audit gaps: runs of the topic "delayed" that began before the delay after the end of another was over
with runs as (
  select l.started_at, l.ended_at, t.fault from torture.ledger l join torture.tasks t using (n) where l.topic = 'delayed'
  union all
  select a.started_at, a.ended_at, t.fault from background_queue.attempts a join torture.tasks t on t.task_id = a.task_id
  where t.topic = 'delayed' and a.started_at is not null and a.outcome <> 'cancelled')
select r.fault, count(*)::integer as early from runs r
where exists (select from runs p where p.ended_at <= r.started_at and p.ended_at > r.started_at - interval '200 ms')
group by r.fault

-- audit foreign: effects under a role that did not enqueue the task
select (select count(*) from torture.owner_only)::integer
  + (select count(*) from torture.ledger l join torture.tasks t using (n) where l.role <> t.role)::integer as foreign

-- audit accounts: what all accounts hold together, of 50,000
select sum(balance)::bigint as sum from torture.accounts

-- audit examples: tasks that are not as they should be
select kind, fault, task_id as id, state, effects, errors from torture.judged
where state is null or state in ('pending', 'running', 'retrying') or effects > 1 or (state = 'finished' and (should_fail or not is_done))
  or (kind <> 'autocommit' and effects > 0 and state <> 'finished')
  or (state = 'failed' and not is_killer and not is_excused and not should_fail)
order by n limit 10
