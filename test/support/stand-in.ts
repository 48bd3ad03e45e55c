import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Database } from '../../src/engine/database/database.js'

/**
 * The real C extension cannot be had here. This one has its name, and the table, type and functions that its
 * documentation describes; its functions only add rows. A trigger and a view stand for what it may have beside that.
 */
const CONTROL = `comment = 'stand-in for tests of moving over'
default_version = '1.0'
relocatable = false
`
const SCRIPT = `
create type pg_background_queue_task_state as enum ('pending', 'running', 'retrying', 'failed', 'finished');
create table pg_background_tasks (
  id bigserial primary key,
  sql_statement text not null,
  topic text,
  joined_at timestamp not null default now(),
  started_at timestamp,
  closed_at timestamp,
  priority integer not null default 100,
  state pg_background_queue_task_state not null default 'pending',
  retry_count integer not null default 0,
  retry_delay_in_sec integer not null default 0,
  errors text);
create index on pg_background_tasks (state);
create index on pg_background_tasks (topic);
create index on pg_background_tasks (joined_at);
create function pg_background_enqueue(sql text, topic text default null) returns bigint language sql as
  'insert into @extschema@.pg_background_tasks (sql_statement, topic) values ($1, $2) returning id';
create function pg_background_queue_joined() returns trigger language plpgsql as 'begin return null; end';
create trigger joined after insert on pg_background_tasks execute function pg_background_queue_joined();
create view pg_background_queue_waiting as select * from pg_background_tasks where state = 'pending';
create function pg_background_queue_ensure_workers() returns void language sql as '';
create function pg_background_queue_active_workers_count() returns integer language sql as 'select 0';
create function pg_background_queue_calibrate_workers_count() returns integer language sql as 'select 0';
select pg_extension_config_dump('pg_background_tasks', '');
select pg_extension_config_dump('pg_background_tasks_id_seq', '');
`

/** Puts its files where the server finds extensions, until the file's tests are over; else the reason why not. */
export async function installStandIn(admin: Database): Promise<string | undefined> {
  const { setting } = await admin.one<{ setting: string }>(
    `select setting from pg_config where name = 'SHAREDIR'`,
  )
  const folder = join(setting, 'extension')
  if (!existsSync(join(folder, 'plpgsql.control')))
    return `the server's folder ${folder} is not on this machine`
  const files = { 'pg_background_queue.control': CONTROL, 'pg_background_queue--1.0.sql': SCRIPT }
  for (const [name, text] of Object.entries(files)) {
    const path = join(folder, name)
    if (existsSync(path) && readFileSync(path, 'utf8') !== text) return 'the server has the real extension'
    try {
      writeFileSync(path, text, { mode: 0o644 })
    } catch {
      return `the server's folder ${folder} cannot be written`
    }
    written.push(path)
  }
  return undefined
}

const written: string[] = []

export function removeStandIn(): void {
  for (const path of written) rmSync(path, { force: true })
}
