-- Parameters stored by `pgbq config`, and the values now in force.

-- lane: '' the whole queue, '/' tasks without topic, '/' || topic one topic.
create table background_queue.settings (
  lane  text not null,
  name  text not null,
  value text not null,
  primary key (lane, name)
);

-- What claims and ends obey, kept equal to the settings by background_queue.sync_lanes(). The row '' is the
-- whole queue and has every value; a topic's row has those that differ from it. A separate lane has its own
-- place in the claim index.
create table background_queue.lanes (
  lane                   text primary key,
  separate               boolean not null default true,
  implicit               boolean not null default false,
  max_running            integer,
  retry_count            integer,
  delay_in_sec           double precision,
  timeout_in_sec         double precision,
  retry_max_delay_in_sec integer,
  max_worker_deaths      integer,
  max_tasks_per_commit   integer,
  paused                 boolean,
  constraint queue_has_every_value check (lane <> '' or num_nulls(max_running, retry_count, delay_in_sec,
    timeout_in_sec, retry_max_delay_in_sec, max_worker_deaths, max_tasks_per_commit, paused) = 0)
);
insert into background_queue.lanes values ('', false, false, 1, 0, 0, 0, 86400, 3, 1, false);

-- A slot of a lane stays taken until then, after each end of a run.
create table background_queue.cooling (
  lane  text not null,
  until timestamptz not null
);
create index cooling_idx on background_queue.cooling (lane, until);
