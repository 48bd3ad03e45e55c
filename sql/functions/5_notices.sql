-- What is kept of the words of tasks; written by supervisors on a connection of their own, so that it is seen while the
-- task runs, and stays where the task is rolled back.

-- note: lines of running tasks, in their order: [{task_id, attempt, seq, age_ms, severity, code, message, detail, hint,
-- statement, rows}]. Of each task the last 1,000 are kept. Lines of a task that is gone are dropped.
create or replace function background_queue.note(p_lines jsonb) returns void language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
  v_now timestamptz := clock_timestamp();
  v_tasks bigint[] := array(select t.id from :"schema".pg_background_tasks t
    where t.id in (select (l ->> 'task_id')::bigint from jsonb_array_elements(p_lines) l));
begin
  -- one at a time, so that ids are seen in their order: whoever follows asks for what is behind the last
  perform from background_queue.queue for no key update;
  insert into background_queue.notices (task_id, attempt, seq, at, severity, code, message, detail, hint, statement, rows)
  select l.task_id, l.attempt, l.seq, v_now - l.age_ms * interval '1 ms', l.severity, l.code, l.message, l.detail, l.hint,
    l.statement, l.rows
  from rows from (jsonb_to_recordset(p_lines) as (task_id bigint, attempt integer, seq integer, age_ms double precision,
    severity text, code text, message text, detail text, hint text, statement integer, rows bigint)) with ordinality
    l(task_id, attempt, seq, age_ms, severity, code, message, detail, hint, statement, rows, place)
  where l.task_id = any (v_tasks) order by l.place;
  delete from background_queue.notices n
  using unnest(v_tasks) t(id), lateral (select k.id from background_queue.notices k
    where k.task_id = t.id order by k.id desc offset 999 limit 1) oldest
  where n.task_id = t.id and n.id < oldest.id;
end $$;
