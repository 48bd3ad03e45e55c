-- Takes the queue out of the database. Triggers, policies and rules of the tasks go with the functions they call;
-- whatever others have built upon tasks, type or functions refuses the drop.
do $$
declare
  v_routine record;
begin
  for v_routine in
    select distinct r.object from background_queue.enqueue_rights() r
    where r.kind = 'routine' and r.object not like 'background_queue.%'
  loop
    execute format('drop function %s', v_routine.object);
  end loop;
end $$;
drop schema background_queue cascade;
drop table :"schema".pg_background_tasks;
drop type :"schema".pg_background_queue_task_state;
