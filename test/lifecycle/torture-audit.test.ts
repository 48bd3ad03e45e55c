import { fileURLToPath } from 'node:url'
import { expect, inject, test, vi } from 'vitest'
import type { Database } from '../../src/engine/database/database.js'
import { resolveTarget } from '../../src/engine/database/target.js'
import type { TortureReport } from '../../src/torture/report.js'
import { type TortureOptions, torture } from '../../src/torture/torture.js'

vi.setConfig({ testTimeout: 120_000 })

/** A storm of seconds may miss what it looks for on a slow machine. Where nothing is broken no storm ever finds it. */
const BY_CHANCE = { retry: 2 }

/** The audit itself: a queue that is broken on purpose must be caught, by the promise that it breaks. */
async function strike(options: Partial<TortureOptions>): Promise<TortureReport> {
  const report = await torture({
    server: resolveTarget(inject('serverUrl')),
    kinds: ['settings'],
    seed: 7,
    durationMs: 5000,
    pauseMs: 400,
    patienceMs: 3000,
    tasksPerSecond: 30,
    signal: new AbortController().signal,
    ...options,
  })
  return report
}

const total = (report: TortureReport, key: 'duplicated' | 'overlapping' | 'over_limit' | 'lost'): number =>
  report.faults.reduce((sum, fault) => sum + fault[key], 0)

/** Changes the source of a function of the queue; throws where the text to change is not there. */
async function change(database: Database, name: string, from: string, to: string): Promise<void> {
  const { source } = await database.one<{ source: string }>(
    `select pg_get_functiondef($1::regproc) as source`,
    [`background_queue.${name}`],
  )
  if (!source.includes(from)) throw new Error(`${name} has no "${from}"`)
  await database.query(source.replaceAll(from, to))
}

/** Takes back what runs for a while, once, whether its backend is there or not. */
const rescueByAge = (database: Database): Promise<void> =>
  change(
    database,
    'rescue_orphans',
    'pruned := 0;',
    `pruned := 0;
    update public.pg_background_tasks set state = 'pending', started_at = null, token_hash = null, worker_id = null, rescues = 1
    where id in (select t.id from public.pg_background_tasks t where t.state = 'running' and t.rescues = 0
      and t.started_at < clock_timestamp() - interval '250 ms' for update skip locked);`,
  )

test('keeps every promise where nothing is broken', async () => {
  const report = await strike({ durationMs: 3000 })
  expect(report.broken).toEqual([])
  expect(report.tasks.finished).toBeGreaterThan(50)
})

test('catches a finish in a second transaction', BY_CHANCE, async () => {
  const report = await strike({
    kinds: ['supervisor-kill'],
    command: [process.execPath, fileURLToPath(new URL('../support/broken-worker.js', import.meta.url))],
  })
  expect(total(report, 'duplicated')).toBeGreaterThan(0)
  expect(report.ok).toBe(false)
})

test('catches a rescue by age: a task runs twice at a time', BY_CHANCE, async () => {
  const report = await strike({ prepare: rescueByAge })
  expect(total(report, 'overlapping')).toBeGreaterThan(0)
})

test(
  'catches a rescue by age without the fence of state and token: both runs leave their effects',
  BY_CHANCE,
  async () => {
    const report = await strike({
      prepare: async (database) => {
        await rescueByAge(database)
        await change(
          database,
          'finish',
          `t.state = 'running' and t.token_hash = sha256(convert_to(p_token, 'UTF8'))`,
          'true',
        )
      },
    })
    expect(total(report, 'duplicated')).toBeGreaterThan(0)
  },
)

test('catches a claim that counts and then takes without a lock', BY_CHANCE, async () => {
  const report = await strike({
    // so many that workers claim side by side all the time
    tasksPerSecond: 70,
    prepare: async (database) => {
      await change(database, 'claim', 'for no key update;', ';')
      await change(
        database,
        'claim',
        'token := gen_random_uuid();',
        `perform pg_sleep(case v_group.lane when '' then 0 else 0.2 end); token := gen_random_uuid();`,
      )
    },
  })
  expect(total(report, 'over_limit')).toBeGreaterThan(0)
})
