-- Who is alive: supervisors and their workers, with the evidence by which their death is seen.

create table background_queue.queue (
  only_row          boolean primary key default true check (only_row),
  system_identifier bigint not null,
  database_oid      oid not null
);

create table background_queue.supervisors (
  id                bigint generated always as identity primary key,
  host              text not null,
  pid               integer not null,
  role              name not null,
  role_oid          oid not null,
  backend_pid       integer not null,
  backend_started_at timestamptz,
  server_started_at timestamptz not null default pg_postmaster_start_time(),
  started_at        timestamptz not null default clock_timestamp(),
  seen_at           timestamptz not null default clock_timestamp(),
  version           text not null,
  concurrency       integer not null,
  lanes             text[],
  wants_wake        boolean not null default true
);

-- secret_hash: sha256 of what only the supervisor and the worker's process know; a claim must show it.
create table background_queue.workers (
  id                bigint generated always as identity primary key,
  supervisor_id     bigint not null,
  host              text not null,
  pid               integer not null,
  role              name not null,
  role_oid          oid not null,
  sets_role         boolean not null default false,
  backend_pid       integer not null,
  backend_started_at timestamptz,
  server_started_at timestamptz not null,
  secret_hash       bytea not null,
  registered_at     timestamptz not null default clock_timestamp()
);
create index workers_supervisor_idx on background_queue.workers (supervisor_id);

create table background_queue.cancel_requests (
  task_id      bigint primary key,
  requested_by name not null,
  requested_at timestamptz not null default clock_timestamp()
);

-- Never holds a row. Claims lock it in ROW SHARE while fewer workers than the global limit exist, else in
-- EXCLUSIVE; whatever changes limits or adds a worker locks it in EXCLUSIVE.
create table background_queue.claim_gate ();
