import { beforeAll, expect, test } from 'vitest'
import type { Database } from '../../src/engine/database/database.js'
import { useDatabase } from '../support/database.js'
import {
  type Claim,
  emptyQueueBeforeEach,
  killWorker,
  type SqlWorker,
  setParameter,
  startWorker,
} from './sql-support.js'

const db = useDatabase()
emptyQueueBeforeEach(db)

const TOPICS = ['one', 'three', 'changing', 'free']

beforeAll(async () => {
  await db.owner.query(`
    create table effects (task_id bigint);
    create table changes (lane text, allowed integer, at timestamptz);
    -- every run of a task, whatever its end
    create view runs as
      select '/' || topic as lane, started_at, closed_at as ended_at from pg_background_tasks where state = 'finished'
      union all
      select '/' || t.topic, a.started_at, a.ended_at from background_queue.attempts a join pg_background_tasks t on t.id = a.task_id`)
})

/** While a change is on its way to its commit, the higher of both limits may still be obeyed. */
async function change(session: Database, lane: string, allowed: number): Promise<void> {
  await session.query(
    `insert into changes select $1, greatest($2, (select c.allowed from changes c where c.lane = $1 order by c.at desc limit 1)),
     clock_timestamp()`,
    [lane, allowed],
  )
  await setParameter(session, lane, 'max_parallel_running_tasks_count', String(allowed))
  await session.query('insert into changes values ($1, $2, clock_timestamp())', [lane, allowed])
}

const isDone = async (session: Database) =>
  (
    await session.one<{ done: boolean }>(
      `select not exists (select from pg_background_tasks where state in ('pending', 'running', 'retrying')) as done`,
    )
  ).done

/** Claims and ends tasks until all are finished: most well, some given back. */
async function work(worker: SqlWorker): Promise<void> {
  let next: Claim | undefined
  for (let n = 0; ; n++) {
    const claim: Claim = next ?? (await worker.claim())
    next = undefined
    if (claim.task_id === null) {
      if (await isDone(worker.session)) return
    } else if (n % 11 === 0) {
      await worker.session.query(`select background_queue.release($1, $2, 'x')`, [claim.task_id, claim.token])
    } else {
      await worker.session.query('begin')
      await worker.session.query('insert into effects select $1 from pg_sleep(0.002)', [claim.task_id])
      if (n % 3 === 0) await worker.finish(claim)
      else next = await worker.finishAndClaim(claim, n % 3 === 1)
      await worker.session.query('commit')
    }
  }
}

/** Runs that began while as many of their lane ('' all) ran as were allowed then. */
const tooMany = () =>
  db.owner.query(`
    with began as (
      select l.lane, r.started_at,
        (select count(*) from runs o where (l.lane = '' or o.lane = l.lane)
          and o.started_at <= r.started_at and o.ended_at > r.started_at) as running,
        (select c.allowed from changes c where c.lane = l.lane and c.at < r.started_at order by c.at desc limit 1) as allowed
      from runs r join (select distinct lane from changes) l on l.lane in ('', r.lane))
    select lane, running, allowed from began where running > allowed`)

test('holds every limit exactly while 8 workers claim, limits move, tasks are given back and a worker dies', async () => {
  await change(db.owner, '', 5)
  await change(db.owner, '/one', 1)
  await change(db.owner, '/three', 3)
  await change(db.owner, '/changing', 2)
  const workers: SqlWorker[] = []
  for (let i = 0; i < 8; i++) workers.push(await startWorker(db))
  const victim = await startWorker(db)
  await db.owner.query(
    `insert into pg_background_tasks (sql_statement, topic, priority)
     select 'select 1', topic, n % 3 from unnest($1::text[]) topic, generate_series(1, 100) n`,
    [TOPICS],
  )
  const { task_id: orphan } = await victim.take()

  const running = workers.map(work)
  const changer = await db.session()
  for (let n = 0; n < 30; n++) {
    await change(changer, '/changing', (n % 4) + 1)
    await change(changer, '', n % 2 === 0 ? 12 : 3 + (n % 3))
    if (n === 15) {
      await killWorker(db, victim)
      await db.owner.query(`select background_queue.bury_worker($1, true, 'x')`, [victim.id])
    }
  }
  await Promise.all(running)

  const [count] = await db.owner.query(`
    select count(*)::integer as finished, (select count(*)::integer from effects) as effects,
      (select count(distinct task_id)::integer from effects) as tasks, max(rescues) as rescues
    from pg_background_tasks where state = 'finished'`)
  expect(count).toEqual({ finished: 400, effects: 400, tasks: 400, rescues: 1 })
  expect(orphan).not.toBeNull()
  const [most] = await db.owner.query(`
    select max((select count(*)::integer from runs o where o.started_at <= r.started_at and o.ended_at > r.started_at)) as most from runs r`)
  expect(most!.most).toBeGreaterThan(2)
  expect(await tooMany()).toEqual([])
}, 60_000)

test('never lets the slots of a topic overlap its delay', async () => {
  await db.owner.query(`truncate changes; truncate effects`)
  await db.owner.query(`select background_queue.set_parameter('/one', 'delay_in_sec', '0.03'),
    background_queue.set_parameter('', 'max_parallel_running_tasks_count', '8'),
    background_queue.set_parameter('/one', 'max_parallel_running_tasks_count', '2')`)
  const workers: SqlWorker[] = []
  for (let i = 0; i < 4; i++) workers.push(await startWorker(db))
  await db.owner.query(
    `insert into pg_background_tasks (sql_statement, topic) select 'select 1', 'one' from generate_series(1, 40)`,
  )
  await Promise.all(workers.map(work))
  const slots = await db.owner.query(`
    select r.started_at from runs r
    where (select count(*) from runs o where o.started_at <= r.started_at
      and o.ended_at + interval '30 ms' > r.started_at) > 2`)
  expect(slots).toEqual([])
}, 60_000)
