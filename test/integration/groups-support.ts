import { afterEach, beforeEach, expect } from 'vitest'
import { GroupPace } from '../../src/engine/worker/group-pace.js'
import { type TestDatabase, useDatabase } from '../support/database.js'
import { type Executor, type Outcome, useExecutor } from '../support/executor.js'
import { setGroupPatience } from './sql-support.js'

export const FIRST = `insert into effects values ('first')`

export interface Groups {
  db: TestDatabase
  executor: Executor
  /** groups are as large as they may, or (false) as long as they may */
  setPatience(isPatient: boolean): Promise<void>
  /** enqueues all, and works until nothing is due */
  run(...statements: string[]): Promise<Outcome[]>
  /** the same; the effects stand in these transactions */
  runAs(groups: string[], ...statements: string[]): Promise<Outcome[]>
  /** the names in the order of their transactions; names of one transaction are one element */
  effects(): Promise<string[]>
}

export const states = (outcomes: { state: string }[]) => outcomes.map((o) => o.state)

/** A queue with grouped commits: tasks run in the transaction of the one before them. */
export function useGroups(): Groups {
  const db = useDatabase()
  const executor = useExecutor(db)

  async function setPatience(isPatient: boolean): Promise<void> {
    await setGroupPatience(db, isPatient)
    executor.pace.room = isPatient ? () => 49 : GroupPace.prototype.room
  }

  async function run(...statements: string[]): Promise<Outcome[]> {
    await db.owner.query('truncate effects, children')
    const ids: bigint[] = []
    for (const sql of statements) ids.push(await executor.enqueue(sql))
    await executor.drain()
    const outcomes = []
    for (const id of ids) outcomes.push(await executor.outcome(id))
    return outcomes
  }

  async function runAs(groups: string[], ...statements: string[]): Promise<Outcome[]> {
    const outcomes = await run(...statements)
    expect(await effects()).toEqual(groups)
    return outcomes
  }

  async function effects(): Promise<string[]> {
    const rows = await db.owner.query<{ names: string }>(
      `select string_agg(name, ' ' order by ctid) as names from effects group by xid order by xid`,
    )
    return rows.map((row) => row.names)
  }

  beforeEach(async () => {
    await db.owner.query(`truncate pg_background_tasks;
      create table if not exists effects (name text, xid xid8 default pg_current_xact_id()); truncate effects;
      create table if not exists parents (n integer primary key);
      create table if not exists children (n integer references parents deferrable initially deferred);
      truncate parents, children; drop sequence if exists s; create sequence s`)
    await db.owner.query(`select background_queue.set_parameter('', 'max_tasks_per_commit', '50')`)
    await setPatience(true)
  })
  afterEach(async () => {
    await db.owner.query(
      `drop trigger if exists doom on effects; drop trigger if exists sabotage on pg_background_tasks`,
    )
  })
  return { db, executor, setPatience, run, runAs, effects }
}
