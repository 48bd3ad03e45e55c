-- Roles that a supervisor could not log in as, at its last look: their tasks are not for its workers.
alter table background_queue.supervisors add column refused name[] not null default '{}';
