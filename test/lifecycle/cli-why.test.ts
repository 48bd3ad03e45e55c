import { beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { explainTask } from '../../src/engine/why.js'
import { toJson } from '../../src/output/json.js'
import { pgbq } from '../support/cli.js'
import { OWNER } from '../support/names.js'
import { waitFor } from '../support/wait.js'
import { holderOf, stop, useQueue, useRole } from './work-support.js'

const queue = useQueue()
const alice = useRole(queue)
const INSTANT = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/)
const LONG = 'select pg_sleep(600)'

const ask = (id: bigint, role?: string) => pgbq(['why', String(id), '--json'], { url: queue.db.url(role) })

/** What `--json` prints, without a process for each question. */
async function why(id: bigint, session = queue.db.owner) {
  const answer = JSON.parse(toJson(await explainTask(session, id)))
  expect(Object.keys(answer)).toEqual(['id', 'state', 'reason', 'message', 'evidence', 'fix'])
  return answer
}

/** A supervisor that is ended at once: its tasks run for long. */
async function work(...args: string[]) {
  const started = await queue.work([...args, '--shutdown-timeout', '0'])
  onTestFinished(async () => {
    if (started.child.exitCode === null) await stop(started)
  })
  return started
}

const running = async (id: bigint) => {
  await holderOf(queue, id)
  return id
}

describe('a closed task', () => {
  test('is explained by its end, and by who ended it', async () => {
    const finished = await queue.enqueue('select 1')
    const failed = await queue.enqueue('select 1/0')
    const cancelled = await queue.enqueue('select 1', { run_at: '2090-01-01' })
    await queue.db.owner.query('select pg_background_cancel($1)', [cancelled])
    await (await queue.work(['--drain', '--warm', '1'])).exit()
    expect(await why(finished)).toEqual({
      id: Number(finished),
      state: 'finished',
      reason: 'closed',
      message: expect.stringMatching(`^Task ${finished} is finished since .+Z, run as "${OWNER}"$`),
      evidence: { started_at: INSTANT, closed_at: INSTANT, role: OWNER, errors: null, worker: null },
      fix: null,
    })
    expect(await why(failed)).toMatchObject({
      state: 'failed',
      reason: 'closed',
      evidence: {
        errors: expect.stringContaining('division by zero'),
        worker: { host: expect.any(String), pid: expect.any(Number), backend_pid: expect.any(Number) },
      },
      fix: `pgbq retry ${failed}`,
    })
    expect(await why(cancelled)).toMatchObject({
      state: 'cancelled',
      evidence: { started_at: null, errors: `Cancelled by ${OWNER} before it ran`, worker: null },
    })
  })
})

describe('without a supervisor', () => {
  test('a task that is due waits for one', async () => {
    const id = await queue.enqueue('select 1')
    expect(await why(id)).toEqual({
      id: Number(id),
      state: 'pending',
      reason: 'no-supervisor',
      message: `Task ${id} waits because no supervisor is alive`,
      evidence: { supervisors: [], last_seen_at: null },
      fix: 'pgbq work',
    })
    const printed = await ask(id)
    expect(printed).toMatchObject({ code: 0, stderr: '' })
    expect(printed.json).toEqual(await why(id))
    const { stdout } = await pgbq(['why', String(id)], { url: queue.db.url() })
    expect(stdout).toBe(
      `Task ${id} waits because no supervisor is alive\n  state       pending\nTry this: pgbq work\n`,
    )
  })

  test('a task is not due yet, whatever else will hold it back', async () => {
    await queue.set('paused', 'true')
    const id = await queue.enqueue('select 1', { run_at: '2090-01-02T03:04:05Z' })
    expect(await why(id)).toMatchObject({
      state: 'pending',
      reason: 'not-due',
      message: `Task ${id} is not due before 2090-01-02T03:04:05Z`,
      evidence: { run_at: '2090-01-02T03:04:05Z' },
      fix: null,
    })
  })

  test.each([
    ['reports', '--topic reports'],
    ["mother's day", `--topic 'mother'\\''s day'`],
    ['--all', "--topic='--all'"],
    [undefined, '--no-topic'],
  ])('a task of the paused topic %j waits for it to go on', async (topic, flag) => {
    await queue.set('paused', 'true', topic ?? '')
    const id = await queue.enqueue('select 1', topic === undefined ? {} : { topic })
    expect(await why(id)).toMatchObject({
      reason: 'paused',
      evidence: { topic: topic ?? null, whole_queue: false },
      fix: `pgbq resume ${flag}`,
    })
  })

  test('every task waits while the queue is paused', async () => {
    await queue.set('paused', 'true')
    const id = await queue.enqueue('select 1', { topic: 'any' })
    expect(await why(id)).toMatchObject({
      reason: 'paused',
      message: `Task ${id} waits because the queue is paused`,
      evidence: { topic: null, whole_queue: true },
      fix: 'pgbq resume',
    })
  })

  test('a limit of 0 holds back a topic, or all', async () => {
    await queue.set('max_parallel_running_tasks_count', '0', 'none')
    const id = await queue.enqueue('select 1', { topic: 'none' })
    expect(await why(id)).toMatchObject({ reason: 'topic-limit', evidence: { limit: 0, running: 0 } })
    await queue.set('max_parallel_running_tasks_count', '0')
    expect(await why(id)).toMatchObject({
      reason: 'global-limit',
      evidence: { limit: 0, running: 0 },
      fix: 'pgbq config set max_parallel_running_tasks_count 1',
    })
  })

  test('what still counts as running is said to be without a worker', async () => {
    const id = await queue.enqueue('select 1')
    await queue.db.owner.query(
      `update pg_background_tasks set state = 'running', started_at = now(), worker_id = 4711, token_hash = '' where id = $1`,
      [id],
    )
    expect(await why(id)).toMatchObject({
      reason: 'running',
      evidence: { worker: null, worker_is_gone: true },
      fix: 'pgbq calibrate',
    })
  })
})

describe('under a supervisor', () => {
  test('a task runs, and one whose topic is full names those that fill it', async () => {
    await queue.set('max_parallel_running_tasks_count', '1', 'reports')
    await work('--concurrency', '2')
    const first = await running(await queue.enqueue(LONG, { topic: 'reports' }))
    const { evidence, ...rest } = await why(first)
    expect(rest).toMatchObject({ state: 'running', reason: 'running', fix: null })
    expect(evidence).toEqual({
      started_at: INSTANT,
      attempt: 1,
      worker: {
        id: expect.any(Number),
        host: expect.any(String),
        pid: expect.any(Number),
        backend_pid: expect.any(Number),
      },
      worker_is_gone: false,
      end_requested: null,
    })
    const second = await queue.enqueue('select 1', { topic: 'reports' })
    expect(await why(second)).toMatchObject({
      state: 'pending',
      reason: 'topic-limit',
      message: `Task ${second} waits because tasks of topic "reports" are at their limit: 1 of 1 run`,
      evidence: {
        topic: 'reports',
        limit: 1,
        running: 1,
        tasks: [{ task_id: Number(first), since: INSTANT }],
        delay_in_sec: 0,
        resting: 0,
        until: null,
      },
      fix: 'pgbq config set max_parallel_running_tasks_count 2 --topic reports',
    })
    expect((await ask(second)).json).toEqual(await why(second))
    const { stdout } = await pgbq(['why', String(second)], { url: queue.db.url() })
    expect(stdout).toMatch(new RegExp(`^ +running +task ${first}, started [\\d.]+ m?s ago$`, 'm'))
  })

  test('a place that rests after a run is waited for', async () => {
    await queue.set('delay_in_sec', '600', 'mail')
    await queue.set('max_parallel_running_tasks_count', '1', 'mail')
    await work('--concurrency', '1')
    await queue.reaches(await queue.enqueue('select 1', { topic: 'mail' }), 'finished')
    const id = await queue.enqueue('select 1', { topic: 'mail' })
    expect(await why(id)).toMatchObject({
      reason: 'delay',
      evidence: { limit: 1, running: 0, resting: 1, delay_in_sec: 600, until: INSTANT },
      fix: 'pgbq config set delay_in_sec 0 --topic mail',
    })
  })

  test('a task that failed waits for its next attempt', async () => {
    await work('--concurrency', '1')
    const id = await queue.enqueue('select 1/0', { max_retries: 20 })
    await queue.reaches(id, 'retrying')
    await queue.db.owner.query(
      `update pg_background_tasks set run_at = now() + interval '1 h' where id = $1`,
      [id],
    )
    expect(await why(id)).toMatchObject({
      state: 'retrying',
      reason: 'retry-due',
      evidence: {
        run_at: INSTANT,
        retry_count: expect.any(Number),
        retries: 20,
        errors: expect.stringContaining('division by zero'),
      },
    })
  })

  test('the next task waits for the limit of the queue, those after it for what goes first', async () => {
    await queue.set('max_parallel_running_tasks_count', '1')
    await work()
    await running(await queue.enqueue(LONG))
    const low = await queue.enqueue('select 1', { priority: 200 })
    const [next] = await queue.enqueueMany(['select 1', 'select 2', 'select 3'])
    await queue.enqueue('select 1', { run_at: '2090-01-01', priority: 1 })
    expect(await why(next!)).toMatchObject({
      reason: 'global-limit',
      evidence: { limit: 1, running: 1 },
      fix: 'pgbq config set max_parallel_running_tasks_count 2',
    })
    expect(await why(low)).toMatchObject({
      reason: 'ahead',
      message: `Task ${low} waits behind 3 tasks that go first, and the queue is at its limit: 1 of 1 run`,
      evidence: { ahead: 3, more: false, running: 1, limit: 1, workers: 1, busy: 1 },
    })
  })

  test('a free limit and busy workers are told apart, and a task of another topic is not in the way', async () => {
    await queue.set('max_parallel_running_tasks_count', '8')
    await queue.set('paused', 'true', 'paused')
    await work('--concurrency', '1')
    await running(await queue.enqueue(LONG))
    await queue.enqueue('select 1', { topic: 'paused', priority: 1 })
    const first = await queue.enqueue('select 1')
    const second = await queue.enqueue('select 1', { topic: 'other' })
    expect(await why(first)).toMatchObject({
      reason: 'ahead',
      message: `Task ${first} is next, but every worker is busy (1)`,
      evidence: { ahead: 0, workers: 1, busy: 1, limit: 8, running: 1 },
    })
    expect(await why(second)).toMatchObject({ reason: 'ahead', evidence: { ahead: 1 } })
  })

  test('what goes first is counted up to 1000', async () => {
    await work('--concurrency', '1')
    await running(await queue.enqueue(LONG))
    await queue.db.owner.query(
      `insert into pg_background_tasks (sql_statement) select 'select 1' from generate_series(1, 1500)`,
    )
    const { id } = await queue.db.owner.one<{ id: bigint }>(
      'select id from pg_background_tasks order by id desc limit 1',
    )
    expect(await why(id)).toMatchObject({
      message: expect.stringContaining('more than 1000 tasks that go first'),
      evidence: { ahead: 1000, more: true },
    })
  })

  test('a supervisor of other topics is no help', async () => {
    const started = await work('--topic', 'mail', '--no-topic')
    const id = await queue.enqueue('select 1', { topic: 'reports' })
    expect(await why(id)).toMatchObject({
      reason: 'no-worker-for-topic',
      message: `Task ${id} waits because the supervisor does not work for tasks of topic "reports"`,
      evidence: {
        topic: 'reports',
        supervisors: [{ host: expect.any(String), pid: started.pid, topics: ['', 'mail'] }],
      },
      fix: 'pgbq work --topic reports',
    })
  })

  test('a running task that waits for a lock names who holds it', async () => {
    await queue.db.owner.query('create table if not exists held ()')
    const holder = await queue.db.session()
    const { pid } = await holder.one<{ pid: number }>('select pg_backend_pid() as pid')
    await holder.query('begin; lock table held')
    onTestFinished(async () => void (await holder.query('rollback')))
    await work('--concurrency', '2')
    const blocked = await queue.enqueue('lock table held')
    await running(blocked)
    const answer = await waitFor('the task to wait for the lock', async () => {
      const found = await why(blocked)
      return found.reason === 'lock' && found
    })
    expect(answer).toMatchObject({
      state: 'running',
      message: `Task ${blocked} is running and waits for a lock that backend ${pid} of role "${OWNER}" holds`,
      evidence: {
        blocked_by: [
          {
            pid,
            role: OWNER,
            application_name: 'pgbq tests',
            state: 'idle in transaction',
            since: INSTANT,
            task_id: null,
          },
        ],
        waits_for: { lock: 'relation', mode: 'AccessExclusiveLock', relation: 'public.held' },
      },
      fix: `psql -c 'SELECT pg_terminate_backend(${pid})'`,
    })
  })

  test('a lock that another task holds leads to that task', async () => {
    await queue.db.owner.query('create table if not exists held ()')
    await work('--concurrency', '2')
    const holder = await running(await queue.enqueue(`lock table held; ${LONG}`))
    const blocked = await running(await queue.enqueue('lock table held'))
    const answer = await waitFor('the task to wait for the lock', async () => {
      const found = await why(blocked)
      return found.reason === 'lock' && found
    })
    expect(answer.evidence.blocked_by).toEqual([expect.objectContaining({ task_id: Number(holder) })])
    expect(answer.fix).toBe(`pgbq cancel ${holder}`)
  })

  test('a waiting task whose row is locked names who holds it', async () => {
    const id = await queue.enqueue('select 1')
    const holder = await queue.db.session()
    const { pid } = await holder.one<{ pid: number }>('select pg_backend_pid() as pid')
    await holder.query('begin')
    onTestFinished(async () => void (await holder.query('rollback')))
    await holder.query('select from pg_background_tasks where id = $1 for update', [id])
    await work('--concurrency', '1')
    expect(await why(id)).toMatchObject({
      state: 'pending',
      reason: 'lock',
      evidence: { blocked_by: [{ pid }], waits_for: null },
      fix: `psql -c 'SELECT pg_terminate_backend(${pid})'`,
    })
    await holder.query('rollback')
    await queue.reaches(id, 'finished')
  })
})

describe('a role', () => {
  test('that no worker may run is named, with what it lacks', async () => {
    const started = await work('--concurrency', '1')
    await queue.db.admin.query(`alter role ${alice.name} nologin`)
    onTestFinished(async () => void (await queue.db.admin.query(`alter role ${alice.name} login`)))
    const id = await queue.enqueue('select 1', {}, alice.session)
    expect(await why(id)).toMatchObject({
      reason: 'no-worker-for-role',
      message: `Task ${id} waits because no worker may run as role "${alice.name}": it may not log in`,
      evidence: { role: alice.name, cause: 'nologin', supervisors: [{ pid: started.pid }] },
      fix: `psql -c 'ALTER ROLE ${alice.name} LOGIN'`,
    })
  })

  test('whose login was refused is named too', async () => {
    await queue.db.owner.query(`revoke connect on database ${queue.db.name} from public`)
    onTestFinished(
      async () => void (await queue.db.owner.query(`grant connect on database ${queue.db.name} to public`)),
    )
    const started = await work('--concurrency', '1')
    const id = await queue.enqueue('select 1', {}, alice.session)
    await started.event((e) => e.event === 'role_refused')
    const answer = await waitFor('the refusal to be known', async () => {
      const found = await why(id)
      return found.reason === 'no-worker-for-role' && found
    })
    expect(answer.evidence).toMatchObject({ cause: 'refused' })
  })

  test('that was renamed does not lend its name to another', async () => {
    const id = await queue.enqueue('select 1', {}, alice.session)
    await queue.db.admin.query(`alter role ${alice.name} rename to ${alice.name}_x`)
    onTestFinished(
      async () =>
        void (await queue.db.admin.query(`alter role ${alice.name}_x rename to ${alice.name};
        alter role ${alice.name} password 'pgbq-tests'`)),
    )
    expect(await why(id)).toMatchObject({
      reason: 'no-worker-for-role',
      evidence: { cause: 'renamed', is_known: false },
      fix: `pgbq cancel ${id}`,
    })
    await work('--concurrency', '1', '--run-as', 'set-role')
    await waitFor('the claim to have set it aside', async () => {
      const { json } = await pgbq(['status', '--json'], { url: queue.db.url() })
      return json.stranded_roles.some((r: any) => r.role === alice.name && r.count === 1)
    })
    expect((await why(id)).reason).toBe('no-worker-for-role')
  })

  test('that may only enqueue asks about its own tasks, and learns no id of others', async () => {
    await queue.set('max_parallel_running_tasks_count', '1', 'shared')
    await work('--concurrency', '2')
    const theirs = await running(await queue.enqueue(LONG, { topic: 'shared' }))
    const own = await queue.enqueue('select 1', { topic: 'shared' }, alice.session)
    expect(await why(own, alice.session)).toMatchObject({
      reason: 'topic-limit',
      evidence: { running: 1, tasks: [] },
    })
    const refused = await ask(theirs, alice.name)
    expect(refused.code).toBe(1)
    expect(refused.json.error).toMatchObject({
      code: 'UNKNOWN_TASK',
      message: `No task has the id ${theirs}`,
    })
  })
})

describe('what cannot be asked', () => {
  const role = useRole(queue)
  beforeAll(() => queue.db.owner.query('select background_queue.revoke_enqueue($1)', [role.name]))

  test.each([
    [['999999'], 1, 'UNKNOWN_TASK'],
    [['x'], 2, 'INVALID_ID'],
    [[], 2, 'USAGE'],
    [['1', '--topic', 'a'], 2, 'USAGE'],
  ])('%j ends with %i and %s', async (args, code, name) => {
    const result = await pgbq(['why', ...args, '--json'], { url: queue.db.url() })
    expect(result.code).toBe(code)
    expect(result.json.error.code).toBe(name)
  })

  test('a role without rights on the queue is told so', async () => {
    const result = await ask(1n, role.name)
    expect(result.code).toBe(1)
    expect(result.json.error).toMatchObject({ code: 'NOT_ALLOWED', hint: expect.stringContaining('owner') })
  })
})
