-- For which change of the lanes no waiting task was left in a lane where it does not belong: to look for such tasks is to
-- read all that wait.
alter table background_queue.queue add column lanes_changed bigint not null default 1,
  add column lanes_settled bigint not null default 0;
