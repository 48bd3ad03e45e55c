-- Runs at the end of each install, once functions that are not ours any more are gone.

-- Nothing is left to anybody but the owner and the roles that were granted: not what PUBLIC has by default, not
-- what the owner's default privileges hand out. And nothing may belong to another than the queue's owner: a function
-- that somebody planted before the install would be replaced and stay his, and what a superuser adds would run with a
-- superuser's rights.
do $$
declare
  v_enqueuers name[] := array(select background_queue.enqueuers());
  v_strangers text;
  v_drift record;
begin
  select string_agg(format('%s belongs to "%s"', o.object, pg_get_userbyid(o.owner)), ', ') into v_strangers
  from background_queue.objects() o
  where o."column" is null and o.owner <> (select c.relowner from pg_class c where c.oid = ':"schema".pg_background_tasks'::regclass);
  if v_strangers is not null then
    raise exception using errcode = '42501', message = format('not the queue''s owner''s: %s', v_strangers);
  end if;
  for v_drift in select distinct d.kind, d.object, d.grantee from background_queue.rights_drift() d where d.is_held loop
    execute format('revoke all on %s %s from %s cascade', v_drift.kind, v_drift.object,
      coalesce(quote_ident(v_drift.grantee), 'public'));
  end loop;
  perform background_queue.grant_enqueue(r) from unnest(v_enqueuers) r;
end $$;
