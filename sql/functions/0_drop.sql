-- Every function of ours is made anew by each install, so that a changed result or argument needs no migration and
-- nothing of an older version stays. Those that a trigger or a constraint holds on to are replaced in place.
do $$
declare
  v_function record;
begin
  for v_function in
    select p.oid::regprocedure as signature from pg_proc p
    where p.pronamespace = 'background_queue'::regnamespace and not exists (
      select from pg_depend d where d.refclassid = 'pg_proc'::regclass and d.refobjid = p.oid)
  loop
    execute format('drop function %s', v_function.signature);
  end loop;
end $$;
