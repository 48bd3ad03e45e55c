-- What the statements of tasks said while they ran: NOTICE, WARNING, INFO, LOG and DEBUG, and as RESULT how a statement
-- of several ended. seq counts the lines of one run; where it leaps, lines were left out. No foreign key: the owner may
-- TRUNCATE the tasks.
create table background_queue.notices (
  id        bigint generated always as identity primary key,
  task_id   bigint not null,
  attempt   integer not null,
  seq       integer not null,
  at        timestamptz not null,
  severity  text not null,
  code      text,
  message   text not null,
  detail    text,
  hint      text,
  statement integer,
  rows      bigint
);
create index notices_task_idx on background_queue.notices (task_id, id);
