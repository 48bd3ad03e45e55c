import { beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest'
import type { Database } from '../../src/engine/database/database.js'
import { install } from '../../src/engine/migrator.js'
import { pgbq, startWork } from '../support/cli.js'
import { debianPrograms, type OwnServer, PROGRAMS, type Programs, useServer } from '../support/own-server.js'
import { needsPostgres } from '../support/version.js'
import { waitFor } from '../support/wait.js'

/** What the C extension's documentation says of postgresql.conf, on servers of our own. */
vi.setConfig({ testTimeout: 90_000 })

const GLOBAL = `# 最大并行任务数(默认: max_worker_processes / 2)
pg_background_queue.max_parallel_running_tasks_count = 4

# 失败任务的默认重试次数(默认: 0)
pg_background_queue.retry_count = 3

# 任务之间的默认延迟秒数(默认: 0)
pg_background_queue.delay_in_sec = 1`
/** as documented, but on one line: over several it is a syntax error in postgresql.conf, for the extension too */
const TOPICS = `# 在 postgresql.conf 中
pg_background_queue.topic_config = '{
  "critical": {
    "max_parallel_running_tasks_count": 10,
    "retry_count": 5,
    "delay_in_sec": 0,
    "priority": 1
  },
  "maintenance": {
    "max_parallel_running_tasks_count": 2,
    "retry_count": 1,
    "delay_in_sec": 5,
    "priority": 100
  },
  "reporting": {
    "max_parallel_running_tasks_count": 3,
    "retry_count": 2,
    "delay_in_sec": 2,
    "priority": 50
  }
}'`.replaceAll(/\n +|\n\}/g, (gap) => (gap.endsWith('}') ? '}' : ' '))
const RELOAD = '-- 重新加载 PostgreSQL 配置\nSELECT pg_reload_conf();'

interface Place {
  server: OwnServer
  /** an example of the documentation, and its first value */
  value(sql: string): Promise<any>
  parameters(): Promise<Record<string, [unknown, string]>>
  reload(lines: string): Promise<void>
}

function usePlace(programs: Programs): Place {
  const server = useServer(programs)
  const place: Place = {
    server,
    value: async (sql) => Object.values((await server.admin.query<any>(sql))[0]!)[0],
    async parameters() {
      const { json } = await pgbq(['config', '--json'], { url: server.url })
      return Object.fromEntries(
        json.parameters.map((p: any) => [[p.topic, p.name].filter(Boolean).join('.'), [p.value, p.source]]),
      )
    },
    async reload(lines) {
      server.configure(lines)
      expect(await place.value(RELOAD)).toBe(true)
    },
  }
  beforeEach(async () => {
    await install(server.admin)
    await server.admin.query('truncate pg_background_tasks; delete from background_queue.cooling')
    await server.admin.query('alter system reset all')
    await place.reload('')
  })
  return place
}

async function work({ server }: Place, ...args: string[]): Promise<void> {
  const running = await startWork(args, { url: server.url })
  onTestFinished(async () => {
    running.child.kill('SIGTERM')
    await running.exit()
  })
}

const stateOf = async (session: Database, id: bigint): Promise<any> =>
  session.one('select *, state::text from pg_background_tasks where id = $1', [id])

const reaches = (place: Place, id: bigint, state: string) =>
  waitFor(`task ${id} to be ${state}`, async () => {
    const row = await stateOf(place.server.admin, id)
    return row.state === state && row
  })

describe('postgresql.conf', () => {
  const place = usePlace(PROGRAMS)

  test('is where SHOW config_file says', async () => {
    expect(await place.value('SHOW config_file;')).toMatch(/postgresql\.conf$/)
  })

  test('gives the queue and each topic its values, after pg_reload_conf()', async () => {
    expect((await place.parameters()).retry_count).toEqual([0, 'default'])
    await place.reload(`${GLOBAL}\n${TOPICS}`)
    expect(await place.parameters()).toMatchObject({
      max_parallel_running_tasks_count: [4, 'server'],
      retry_count: [3, 'server'],
      delay_in_sec: [1, 'server'],
      priority: [100, 'default'],
      'critical.max_parallel_running_tasks_count': [10, 'topic_config'],
      'critical.retry_count': [5, 'topic_config'],
      'critical.delay_in_sec': [0, 'topic_config'],
      'critical.priority': [1, 'topic_config'],
      'maintenance.max_parallel_running_tasks_count': [2, 'topic_config'],
      'maintenance.retry_count': [1, 'topic_config'],
      'maintenance.delay_in_sec': [5, 'topic_config'],
      'reporting.max_parallel_running_tasks_count': [3, 'topic_config'],
      'reporting.priority': [50, 'topic_config'],
    })
  })

  test('limits what runs at once, for the queue and for a topic, under workers that are there already', async () => {
    await work(place)
    await place.reload(`${GLOBAL}\n${TOPICS}`)
    const limits = () =>
      place.value(`select string_agg(max_running::text, ' ' order by lane) from background_queue.lanes`)
    await waitFor('the workers to obey', async () => (await limits()) === '4 10 2 3')
    await place.server.admin.query(`select pg_background_enqueue('select pg_sleep(600)', topic)
      from unnest(array['maintenance', 'critical']) topic, generate_series(1, 4)`)
    await waitFor(
      'four to run',
      async () => (await place.value('SELECT pg_background_queue_active_workers_count();')) === 4,
    )
    const rows = await place.server.admin.query<any>(
      `select topic, count(*)::integer from pg_background_tasks where state = 'running' group by topic`,
    )
    const counts = Object.fromEntries(rows.map((row) => [row.topic, row.count]))
    expect(counts.maintenance ?? 0).toBeLessThanOrEqual(2)
    expect((counts.maintenance ?? 0) + counts.critical).toBe(4)
    await place.server.admin.query('select pg_background_cancel(id) from pg_background_tasks')
  })

  test('lets high priority go first by its topic', async () => {
    await place.reload(TOPICS)
    await place.server.admin.query(`create or replace function critical_operation() returns integer language sql as 'select 1';
      create or replace function cleanup_old_data() returns integer language sql as 'select 1'`)
    const low = await place.value(`-- 低优先级任务
SELECT pg_background_enqueue('SELECT cleanup_old_data()', 'maintenance');`)
    const high = await place.value(`-- 高优先级任务(数字越小优先级越高)
SELECT pg_background_enqueue('SELECT critical_operation()', 'critical');`)
    await work(place, '--concurrency', '1')
    const [first, second] = await Promise.all([
      reaches(place, high, 'finished'),
      reaches(place, low, 'finished'),
    ])
    expect([first.priority, second.priority]).toEqual([1, 100])
    expect(first.closed_at < second.started_at).toBe(true)
  })

  test('lets a failed task try again after 2^n seconds, and keeps its error', async () => {
    await place.reload('pg_background_queue.retry_count = 2')
    await work(place)
    const id = await place.value(`SELECT pg_background_enqueue('select 1/0')`)
    for (const [attempt, wait] of [
      [1, 2],
      [2, 4],
    ]) {
      const row = await reaches(place, id, 'retrying')
      expect(row).toMatchObject({
        retry_count: attempt,
        retry_delay_in_sec: wait,
        closed_at: null,
        errors: 'ERROR 22012: division by zero',
      })
      const waits = `select extract(epoch from t.run_at - max(a.ended_at))::float8 from pg_background_tasks t
        join background_queue.attempts a on a.task_id = t.id where t.id = ${id} group by t.id`
      expect(await place.value(waits)).toBeCloseTo(wait!, 1)
      await place.server.admin.query(`update pg_background_tasks set run_at = now() where id = ${id};
        select pg_background_queue_ensure_workers()`)
      await waitFor('the next attempt', async () => {
        const next = await stateOf(place.server.admin, id)
        return next.state === 'failed' || next.retry_count > attempt!
      })
    }
    expect(await reaches(place, id, 'failed')).toMatchObject({
      retry_count: 2,
      errors: 'ERROR 22012: division by zero',
    })
  })
})

const ALTER = 'ALTER SYSTEM SET pg_background_queue.retry_count = 1'

async function isObeyed(place: Place): Promise<void> {
  await work(place)
  await place.value(RELOAD)
  await waitFor('the workers to obey', async () =>
    place.value(`select retry_count = 1 from background_queue.lanes where lane = ''`),
  )
  const id = await place.value(`SELECT pg_background_enqueue('select 1/0')`)
  expect(await reaches(place, id, 'retrying')).toMatchObject({ retry_count: 1, retry_delay_in_sec: 2 })
  expect(await reaches(place, id, 'failed')).toMatchObject({ retry_count: 1 })
}

describe('ALTER SYSTEM from PostgreSQL 17 on', () => {
  const place = usePlace(PROGRAMS)
  beforeEach((ctx) =>
    needsPostgres(17, 'ALTER SYSTEM knows no setting that nobody set in this session', ctx, PROGRAMS.major),
  )

  test('works in a new session, as it is', async () => {
    await (await place.server.session()).query(ALTER)
    await isObeyed(place)
    expect((await place.parameters()).retry_count).toEqual([1, 'server'])
  })

  test('works for a role that was granted it, as documented', async () => {
    await place.server.admin.query(`create role app login;
      GRANT ALTER SYSTEM ON PARAMETER pg_background_queue.retry_count TO app;
      GRANT EXECUTE ON FUNCTION pg_reload_conf() TO app`)
    const app = await place.server.session('app')
    await app.query(ALTER)
    await app.query(RELOAD)
    await waitFor('the value', async () => (await place.parameters()).retry_count?.[0] === 1)
  })
})

const older = [PROGRAMS, ...debianPrograms()].find(({ major }) => major < 17)

describe('ALTER SYSTEM before PostgreSQL 17', () => {
  const TITLE = 'works after one line in the same session, as documented'
  if (older === undefined) {
    test(TITLE, (ctx) => ctx.skip("none of Debian's packages of PostgreSQL 13 to 16 is installed"))
    return
  }
  const place = usePlace(older)

  test(TITLE, async () => {
    const session = await place.server.session()
    await expect(session.query(ALTER)).rejects.toMatchObject({ code: '42704' })
    await session.query('SET pg_background_queue.retry_count = 1')
    await session.query(ALTER)
    await isObeyed(place)
  })
})
