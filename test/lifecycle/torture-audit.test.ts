import { fileURLToPath } from 'node:url'
import { expect, inject, test, vi } from 'vitest'
import type { Database } from '../../src/engine/database/database.js'
import { resolveTarget } from '../../src/engine/database/target.js'
import type { TortureReport } from '../../src/torture/report.js'
import { type TortureOptions, torture } from '../../src/torture/torture.js'

vi.setConfig({ testTimeout: 120_000 })

/**
 * The audit itself: a queue that is broken on purpose must be caught, by the promise that it breaks. What breaks it
 * waits in its midst for the evidence that it was met, so that neither luck nor the machine's speed decides.
 */
function strike(options: Partial<TortureOptions>): Promise<TortureReport> {
  return torture({
    server: resolveTarget(inject('serverUrl')),
    kinds: ['settings'],
    seed: 7,
    pauseMs: 400,
    tasksPerSecond: 30,
    signal: new AbortController().signal,
    ...options,
  })
}

const total = (report: TortureReport, key: 'duplicated' | 'overlapping' | 'over_limit' | 'lost'): number =>
  report.faults.reduce((sum, fault) => sum + fault[key], 0)

/** Changes the source of a function; throws where the text to change is not there. */
async function change(database: Database, name: string, from: RegExp, to: string): Promise<void> {
  const { source } = await database.one<{ source: string }>(
    `select pg_get_functiondef($1::regproc) as source`,
    [name],
  )
  if (!from.test(source)) throw new Error(`${name} has no ${from}`)
  await database.query(source.replace(from, () => to))
}

/** Tasks that come before all others; the first is number 1 of the ledger. */
const enqueueFirst = (database: Database, count: number, topic: string, ms: number): Promise<unknown> =>
  database.query(`select torture.enqueue('plain', $2, $3, 'calm') from generate_series(1, $1)`, [
    count,
    topic,
    ms,
  ])

/** Lets runs of torture.work go on while this is true; for half a minute at most, for the test is lost by then. */
const prolong = (database: Database, condition: string): Promise<void> =>
  change(
    database,
    'torture.work',
    /(?=perform pg_sleep\(greatest)/,
    `while clock_timestamp() < v_started_at + interval '30 s' and ${condition} loop
      perform pg_sleep(0.02);
    end loop;
    `,
  )

/** Takes back what runs for a while, once, whether its backend is there or not: task 1 surely, its run outlasts the next. */
async function rescueByAge(database: Database): Promise<void> {
  await change(
    database,
    'background_queue.rescue_orphans',
    /pruned := 0;/,
    `pruned := 0;
    update public.pg_background_tasks set state = 'pending', started_at = null, token_hash = null, worker_id = null, rescues = 1
    where id in (select t.id from public.pg_background_tasks t where t.state = 'running' and t.rescues = 0
      and t.started_at < clock_timestamp() - interval '250 ms' for update skip locked);`,
  )
  await prolong(
    database,
    `p_n = 1 and not v_is_double
      and not exists (select from torture.judged j where j.n = 1 and j.state = 'finished')`,
  )
}

const FENCE = /t\.state = 'running'\s+and t\.token_hash = sha256\(convert_to\(p_token, 'UTF8'\)\)/

test('keeps every promise where nothing is broken', async () => {
  const report = await strike({ durationMs: 3000 })
  expect(report.broken).toEqual([])
  expect(report.tasks.finished).toBeGreaterThan(50)
})

test('catches a finish in a second transaction', async () => {
  const report = await strike({
    kinds: ['supervisor-kill'],
    rounds: 1,
    prepare: async (database) => void (await enqueueFirst(database, 6, 'free', 20)),
    command: [process.execPath, fileURLToPath(new URL('../support/broken-worker.js', import.meta.url))],
  })
  expect(total(report, 'duplicated')).toBeGreaterThan(0)
  expect(report.ok).toBe(false)
})

test('catches a rescue by age: a task runs twice at a time', async () => {
  const report = await strike({
    rounds: 1,
    prepare: async (database) => {
      await rescueByAge(database)
      await enqueueFirst(database, 1, 'free', 20)
    },
  })
  expect(total(report, 'overlapping')).toBeGreaterThan(0)
})

test('catches a rescue by age without the fence of state and token: both runs leave their effects', async () => {
  const report = await strike({
    rounds: 1,
    prepare: async (database) => {
      await rescueByAge(database)
      await change(database, 'background_queue.finish', FENCE, 'true')
      await change(database, 'background_queue.finish_and_claim', FENCE, 'true')
      // task 2 keeps the queue from its rest until both runs of task 1 have left their effects
      await prolong(database, 'p_n = 2 and (select count(*) < 2 from torture.ledger l where l.n = 1)')
      await enqueueFirst(database, 2, 'free', 20)
    },
  })
  expect(total(report, 'duplicated')).toBeGreaterThan(0)
})

test('catches a claim that counts and then takes without a lock', async () => {
  const report = await strike({
    rounds: 1,
    prepare: async (database) => {
      await change(database, 'background_queue.claim', / for no key update;/, ';')
      // between the two, the first waits for a second that has counted too
      await database.query('create sequence torture.counted')
      await change(
        database,
        'background_queue.claim',
        /(?=token := gen_random_uuid\(\);)/,
        `if v_group.lane = '/delayed' and nextval('torture.counted') = 1 then
          for v_tries in 1..500 loop
            exit when (select c.last_value > 1 from torture.counted c);
            perform pg_sleep(0.02);
          end loop;
        end if;
        `,
      )
      // the second may be a worker that is not registered yet
      await change(database, 'background_queue.register_worker', /lock table \S+ in exclusive mode;/, '')
      await prolong(
        database,
        `p_n <= 2 and least(v_count.in_topic, v_again.in_topic) = 1
          and not exists (select from torture.ledger l where l.running_in_topic > 1)`,
      )
      await enqueueFirst(database, 2, 'delayed', 20)
    },
  })
  expect(total(report, 'over_limit')).toBeGreaterThan(0)
})
