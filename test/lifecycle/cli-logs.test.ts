import { describe, expect, test, vi } from 'vitest'
import { pgbq, spawnPgbq } from '../support/cli.js'
import { waitFor } from '../support/wait.js'
import { eventsOf, sessions, stop, useQueue, useRole } from './work-support.js'

vi.setConfig({ testTimeout: 90_000 })

const queue = useQueue()
const role = useRole(queue)
const at = () => ({ url: queue.db.url() })
const raise = (statements: string) => `do $$ begin ${statements} end $$`
/** A task that says something and then waits for this lock, which the test holds. */
const LOCK = 4711
const WAITS = raise(`raise notice 'half way'; perform pg_advisory_xact_lock(${LOCK});`)

interface Line {
  source: string
  task_id: number
  kind: string
  message: string | null
  seq: number | null
  [column: string]: unknown
}

async function linesOf(...args: string[]): Promise<Line[]> {
  const { code, stdout, json } = await pgbq(['logs', ...args, '--json'], at())
  expect({ code, stdout: code === 0 ? '' : stdout }).toEqual({ code: 0, stdout: '' })
  return json.lines
}

const words = (lines: Line[]) => lines.map(({ kind, message }) => `${kind} ${message}`)

describe('what a task said', () => {
  test('is there as soon as it is finished, by severity, and its rows', async () => {
    await queue.work(['--concurrency', '1'])
    const id = await queue.enqueue(
      raise(
        `raise notice 'n'; raise warning 'w' using detail = 'd', hint = 'h'; raise info 'i'; raise debug 'not sent';`,
      ),
    )
    await queue.reaches(id, 'finished')
    expect(await queue.count('select count(*) from background_queue.notices')).toBe(3)
    const lines = await linesOf(String(id))
    expect(words(lines)).toEqual(['NOTICE n', 'WARNING w', 'INFO i', 'finished DO'])
    expect(lines[1]).toMatchObject({
      task_id: Number(id),
      attempt: 1,
      seq: 2,
      sqlstate: '01000',
      detail: 'd',
      hint: 'h',
    })
  })

  test('has the rows of each statement of several', async () => {
    await queue.work(['--concurrency', '1'])
    const id = await queue.enqueue(
      'create temp table t (a int); insert into t select generate_series(1, 5); drop table if exists nope; delete from t where a > 3',
    )
    await queue.reaches(id, 'finished')
    const lines = await waitFor('the results', async () => {
      const found = await linesOf(String(id))
      return found.length >= 6 && found
    })
    expect(lines.map(({ kind, statement, message, rows }) => [kind, statement, message, rows])).toEqual([
      ['RESULT', 1, 'CREATE TABLE', null],
      ['RESULT', 2, 'INSERT', 5],
      ['NOTICE', 3, 'table "nope" does not exist, skipping', null],
      ['RESULT', 3, 'DROP TABLE', null],
      ['RESULT', 4, 'DELETE', 2],
      ['finished', null, 'DELETE', 2],
    ])
  })

  test('is seen while it runs, and followed until it is closed', async () => {
    await queue.work(['--concurrency', '1'])
    await queue.db.owner.query('select pg_advisory_lock($1)', [LOCK])
    const id = await queue.enqueue(WAITS)
    const follower = spawnPgbq(['logs', String(id), '--follow'], at())
    await waitFor('the notice', () => follower.stdout().includes('NOTICE   half way\n'))
    expect((await queue.task(id)).state).toBe('running')
    await queue.db.owner.query('select pg_advisory_unlock($1)', [LOCK])
    expect(await follower.exit()).toBe(0)
    expect(follower.stdout()).toMatch(/NOTICE {3}half way\n\S+ \S+ finished DO\n$/)
  })

  test('stays where the attempt was rolled back, beside its error', async () => {
    await queue.work(['--concurrency', '1'])
    const id = await queue.enqueue(raise(`raise notice 'before'; perform 1 / 0;`), { max_retries: 1 })
    await queue.reaches(id, 'failed')
    const lines = await linesOf(String(id))
    expect(words(lines)).toEqual([
      'NOTICE before',
      'retrying division by zero',
      'NOTICE before',
      'failed division by zero',
    ])
    expect(lines.map((line) => line.attempt)).toEqual([1, null, 2, null])
    const { stdout } = await pgbq(['logs', String(id)], at())
    expect(stdout).toContain('failed   ERROR 22012: division by zero\n')
    expect(stdout).not.toContain('perform')
  })

  test('is said once, also where the server refuses the statement in a transaction', async () => {
    await queue.work(['--concurrency', '1'])
    const id = await queue.enqueue(raise(`raise notice 'a'; commit; raise notice 'b';`))
    await queue.reaches(id, 'finished')
    expect(words(await linesOf(String(id)))).toEqual(['NOTICE a', 'NOTICE b', 'finished DO'])
  })

  test('cannot write on the terminal', async () => {
    await queue.work(['--concurrency', '1'])
    const id = await queue.enqueue(raise(`raise notice E'\\x1b[2Jclear\\nFORGED';`))
    await queue.reaches(id, 'finished')
    const { stdout } = await pgbq(['logs', String(id)], at())
    expect(stdout).toContain('NOTICE   \\u001b[2Jclear\n    FORGED\n')
  })

  test('is written for a task of another role too, as its client_min_messages has it, and shown to that role', async () => {
    await queue.db.admin.query(`alter role ${role.name} set client_min_messages = 'warning'`)
    await queue.work(['--concurrency', '1'])
    const theirs = await queue.enqueue(raise(`raise notice 'n'; raise warning 'w';`), {}, role.session)
    const ours = await queue.enqueue(raise(`raise notice 'ours';`))
    await queue.reaches(theirs, 'finished')
    await queue.reaches(ours, 'finished')
    const seen = await pgbq(['logs', '--json'], { url: queue.db.url(role.name) })
    expect(words(seen.json.lines)).toEqual(['WARNING w'])
    expect(words(await linesOf()).sort()).toEqual(['NOTICE ours', 'WARNING w'])
  })
})

describe('a flood', () => {
  test('is kept in part, its end whole, and the task ends well', async () => {
    const work = await queue.work(['--concurrency', '1'])
    const id = await queue.enqueue(raise(`for i in 1..200000 loop raise notice 'row %', i; end loop;`))
    await queue.reaches(id, 'finished', 60_000)
    const lines = (await linesOf(String(id))).filter((line) => line.kind === 'NOTICE')
    expect(lines.length).toBeLessThanOrEqual(1000)
    expect(lines.slice(-100).map((line) => line.seq)).toEqual(
      Array.from({ length: 100 }, (_, i) => 199_901 + i),
    )
    const { stdout } = await pgbq(['logs', String(id)], at())
    expect(stdout).toMatch(/^… [\d,]+ lines left out\n/m)
    expect(eventsOf(work, 'warning')).toEqual([])
  })

  test('of megabytes in one notice is shortened', async () => {
    await queue.work(['--concurrency', '1'])
    const id = await queue.enqueue(raise(`raise notice '%', repeat('x', 3000000);`))
    await queue.reaches(id, 'finished')
    const [line] = await linesOf(String(id))
    expect(line!.message).toMatch(/^x{16000}… \(2,984,000 characters more\)$/)
  })
})

test('a task that says nothing opens no connection for it', async () => {
  await queue.work(['--concurrency', '1'])
  const keepers = async () =>
    (await sessions(queue.db)).filter((s) => s.application_name === 'pg_background_queue notices').length
  await queue.reaches(await queue.enqueue('select 1'), 'finished')
  expect(await keepers()).toBe(0)
  await queue.reaches(await queue.enqueue(raise(`raise notice 'n';`)), 'finished')
  expect(await keepers()).toBe(1)
})

test('where notices cannot be written, they are lost and the tasks unharmed', async () => {
  const work = await queue.work(['--concurrency', '1'])
  await queue.db.owner.query('alter function background_queue.note(jsonb) rename to note_gone')
  try {
    const id = await queue.enqueue(raise(`raise notice 'lost';`))
    await queue.reaches(id, 'finished')
    await work.event(
      (e) => e.event === 'warning' && /^Notices of tasks are not kept for now: /.test(e.message),
    )
  } finally {
    await queue.db.owner.query('alter function background_queue.note_gone(jsonb) rename to note')
  }
})

test('notices are kept again after their connection was ended', async () => {
  await queue.work(['--concurrency', '1'])
  await queue.reaches(await queue.enqueue(raise(`raise notice 'one';`)), 'finished')
  await queue.db.admin.query(
    `select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'pg_background_queue notices'
     and datname = current_database()`,
  )
  await waitFor('the connection to be gone', async () =>
    (await sessions(queue.db)).every((s) => s.application_name !== 'pg_background_queue notices'),
  )
  await waitFor('a notice to be kept', async () => {
    const id = await queue.enqueue(raise(`raise notice 'two';`))
    await queue.reaches(id, 'finished')
    return words(await linesOf(String(id))).includes('NOTICE two')
  })
})

describe('enqueue --wait', () => {
  test('shows on stderr what the task says, as it comes, and on stdout how it ended', async () => {
    await queue.work(['--concurrency', '1'])
    await queue.db.owner.query('select pg_advisory_lock($1)', [LOCK])
    const waiter = spawnPgbq(['enqueue', `${WAITS}; select 1`, '--wait'], at())
    await waitFor('the notice', () => waiter.stderr().includes('NOTICE: half way\n'))
    expect(waiter.stdout()).toBe('')
    await queue.db.owner.query('select pg_advisory_unlock($1)', [LOCK])
    expect(await waiter.exit()).toBe(0)
    expect(waiter.stderr()).toBe('NOTICE: half way\nstatement 1: DO\nstatement 2: SELECT 1\n')
    expect(waiter.stdout()).toMatch(/^Task \d+ finished in .*: SELECT 1\n$/)
  })

  test('says an error once', async () => {
    await queue.work(['--concurrency', '1'])
    const { code, stdout, stderr } = await pgbq(['enqueue', 'select 1 / 0', '--wait', '--json'], at())
    expect({ code, stderr }).toEqual({ code: 1, stderr: '' })
    expect(JSON.parse(stdout)).toMatchObject({ state: 'failed' })
  })
})

describe('without an ID', () => {
  test('shows all tasks, or those of a topic, or what is new enough', async () => {
    const ids = [await queue.enqueue('select 1', { topic: 'mail' }), await queue.enqueue('select 1')]
    const note = (id: bigint, message: string, ageMs: number) => [
      { task_id: String(id), attempt: 1, seq: 1, age_ms: ageMs, severity: 'NOTICE', message },
    ]
    for (const lines of [
      note(ids[0]!, 'old mail', 7_200_000),
      note(ids[0]!, 'mail', 0),
      note(ids[1]!, 'none', 0),
    ])
      await queue.db.owner.query('select background_queue.note($1)', [JSON.stringify(lines)])
    expect(words(await linesOf())).toEqual(['NOTICE old mail', 'NOTICE mail', 'NOTICE none'])
    expect(words(await linesOf('--topic', 'mail'))).toEqual(['NOTICE old mail', 'NOTICE mail'])
    expect(words(await linesOf('--no-topic'))).toEqual(['NOTICE none'])
    expect(words(await linesOf('--since', '1h'))).toEqual(['NOTICE mail', 'NOTICE none'])
    expect(words(await linesOf('--limit', '1'))).toEqual(['NOTICE none'])
    const { stdout } = await pgbq(['logs', '--limit', '2'], at())
    expect(stdout).toMatch(
      new RegExp(`task ${ids[0]} \\[mail\\] NOTICE   mail\\n.* task ${ids[1]} NOTICE   none\\n$`),
    )
  })

  test('follows all tasks, one object a line, until Ctrl-C', async () => {
    await queue.work(['--concurrency', '1'])
    await queue.reaches(await queue.enqueue(raise(`raise notice 'past';`)), 'finished')
    const follower = spawnPgbq(['logs', '--follow', '--json'], at())
    const seen = () =>
      follower
        .stdout()
        .split('\n')
        .slice(0, -1)
        .map((text) => JSON.parse(text) as Line)
    await waitFor('the past', () => words(seen()).includes('NOTICE past'))
    await queue.enqueue(raise(`raise notice 'new'; perform 1 / 0;`))
    await waitFor('the end of the attempt', () => words(seen()).includes('failed division by zero'))
    expect(words(seen())).toEqual(['NOTICE past', 'NOTICE new', 'failed division by zero'])
    follower.child.kill('SIGINT')
    expect(await follower.exit()).toBe(0)
  })

  test('says so where nothing was said', async () => {
    expect(await pgbq(['logs'], at())).toMatchObject({ code: 0, stdout: 'Nothing was said\n', stderr: '' })
    expect(await linesOf()).toEqual([])
  })
})

test.each([
  [['logs', '999999999'], 1, 'No task has the id 999999999'],
  [['logs', '999999999', '--follow'], 1, 'No task has the id 999999999'],
  [['logs', 'x'], 2, 'Expected the id of a task, got "x"'],
  [['logs', '1', '--topic', 'mail'], 2, 'An ID goes with neither --topic nor --no-topic'],
  [
    ['logs', '--since', 'soon'],
    2,
    'Expected --since to be a duration such as 500ms, 10s, 5m, 2h or 1d, got "soon"',
  ],
  [['logs', '--limit', '0'], 2, 'Expected --limit to be an integer from 1 to 999999, got "0"'],
])('%j ends with exit code %i: %s', async (args, code, message) => {
  const result = await pgbq(args, at())
  expect(result).toMatchObject({ code, stdout: '' })
  expect(result.stderr).toContain(`Error: ${message}\n`)
})

test('work logs one line an event, without the SQL', async () => {
  const work = spawnPgbq(['work', '--log-format', 'text'], at())
  const id = await queue.enqueue(raise(`raise exception E'one\\ntwo\\x1b[2J';`))
  await waitFor('the failure', () => work.stderr().includes(`task ${id} failed`))
  await stop({ ...work, pid: work.child.pid!, events: () => [], event: () => Promise.reject() })
  const lines = work.stderr().trimEnd().split('\n')
  expect(lines.filter((line) => !/^\d{4}-\d\d-\d\dT[\d:.]+Z \S/.test(line))).toEqual([])
  expect(lines.find((line) => line.includes('failed'))).toMatch(/: one two\\u001b\[2J$/)
  expect(work.stderr()).not.toContain('raise exception')
})
