-- The failed tasks that ended last, found at once among a million that finished. No other end pays for it.
create index tasks_failed_idx on :"schema".pg_background_tasks (closed_at) where state = 'failed';
