import { beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { displayWidth } from '../../src/output/width.js'
import { RUN } from '../support/cli.js'
import { useDatabase } from '../support/database.js'
import { noTerminals, openShell, openTerminal, type TestTerminal } from '../support/terminal.js'

vi.setConfig({ testTimeout: 90_000, hookTimeout: 90_000 })

const db = useDatabase()
const reason = noTerminals()
const SIZES = [
  { columns: 80, rows: 24 },
  { columns: 200, rows: 50 },
]
const TOPICS = ['mail', 'billing', 'reporting']
/** Wide, right to left, with vowel signs, joined, and longer than any terminal. */
const ODD = ['漢字 仕事', 'שָׁלוֹם', 'مُحَمَّدٌ', 'ผู้ใหญ่', 'हिन्दी', 'café', '🇩🇪', '❤️', 'long topic '.repeat(18)]

/** All that these commands write in a terminal of that size. */
async function write(size: object, ...commands: string[]): Promise<string[]> {
  const line = commands.map((command) => `'${process.execPath}' '${RUN}' ${command}; echo "left with $?"`)
  const terminal = openShell(`${line.join('; ')}; echo "all done"`, { url: db.url(), ...size })
  await terminal.shows(/^all done$/m)
  return terminal.written()
}

/** Both sizes at once, each in a terminal of its own. */
const inEachSize = (look: (size: (typeof SIZES)[number]) => Promise<void>) => Promise.all(SIZES.map(look))

function expectFit(lines: string[], columns: number): void {
  expect(lines.filter((line) => displayWidth(line) > columns)).toEqual([])
}

/** The lines of topics: each ends with a limit of one digit, and so at the same place of the terminal. */
function expectTopicsInLine(lines: string[]): void {
  const topics = lines.filter((line) => /( +\d+){6} {2}\d$/.test(line))
  expect(topics.length).toBeGreaterThan(1)
  expect(new Set(topics.map((line) => displayWidth(line))).size, topics.join('\n')).toBe(1)
}

const enqueue = (sql: string, topics: string[]) =>
  db.owner.query('select pg_background_enqueue($1, t) from unnest($2::text[]) t', [sql, topics])

/** The live view, its lines once it shows this, and all of them within the terminal. */
async function watch(size: (typeof SIZES)[number], what: RegExp): Promise<TestTerminal> {
  const terminal = openTerminal(['status', '--watch'], { url: db.url(), ...size })
  await terminal.shows(what)
  // a terminal may show the first frame in parts
  const lines = await terminal.shows(/q quit$/m)
  expectFit(lines, size.columns)
  expect(lines[size.rows - 1]).toMatch(/q quit$/)
  return terminal
}

// one after the other: each adds to what the ones before have left
describe('in terminals of 80×24 and 200×50', () => {
  beforeAll(async () => void (await db.owner.query('select background_queue.sync_lanes()')))
  beforeEach((ctx) => void (reason && ctx.skip(reason)))

  test('an empty queue says what to do next', () =>
    inEachSize(async (size) => {
      const lines = await write(size, 'status', 'status --limit 5', 'why 1', 'doctor')
      expectFit(lines, size.columns)
      expect(lines.join('\n')).toMatch(
        /^No tasks\. Try this: pgbq enqueue 'SELECT 1'\n\nNo supervisor .*: pgbq work$/m,
      )
      expect(lines.join('\n')).toMatch(
        /^Error: No task has the id 1\nTry this: pgbq status --limit 20\nleft with 1$/m,
      )
      expect(lines.join('\n')).toMatch(/^\d+ ok, 1 warning \(supervisors\), 0 problems\nleft with 0$/m)
      await watch(size, /^>all topics +0 +0\/\d+ +0 +0 +0 +0/m)
    }))

  test('three topics have their numbers in line, and a reason why they wait', async () => {
    await enqueue('select 1', TOPICS)
    await inEachSize(async (size) => {
      const lines = await write(size, 'status', 'status --limit 5', 'why 1', 'doctor')
      expectFit(lines, size.columns)
      expectTopicsInLine(lines)
      expect(lines.join('\n')).toMatch(
        /^Task 1 waits because no supervisor is alive\n.*pending\nTry this: pgbq work$/m,
      )
      expect(lines.join('\n')).toMatch(/ 0 warnings, 1 problem \(supervisors\)\nleft with 1$/m)
      await watch(size, /^ Tasks wait, and nobody runs them\. Try this: pgbq work$/m)
    })
  })

  test('topics and statements in all scripts, and of a megabyte, keep columns in line', async () => {
    await enqueue(`select '漢字 שלום مُحَمَّدٌ ผู้ใหญ่ ${'x'.repeat(1_000_000)}'`, ODD)
    const { id } = await db.owner.one<{ id: bigint }>('select max(id) as id from pg_background_tasks')
    await inEachSize(async (size) => {
      const lines = await write(size, 'status', 'status --limit 20', `why ${id}`, 'config')
      expectFit(lines, size.columns)
      expectTopicsInLine(lines)
      expect(lines.join('\n')).toMatch(/^"?long topic .*… +1 +0 /m)
      const terminal = await watch(size, /^ 漢字 仕事 +1 /m)
      terminal.press('Enter')
      await terminal.shows(/^ +\d+ pending +漢字/m)
      terminal.press('End', 'Enter')
      expectFit(await terminal.shows(/^ select '漢字 שלום/m), size.columns)
      terminal.press('End')
      expectFit(await terminal.shows(/^ … of 1,000,\d+ bytes; pgbq status \d+ shows all$/m), size.columns)
    })
  })

  test('of 500 topics the busiest are shown, and all of them in the live view', async () => {
    await enqueue(
      'select 2',
      Array.from({ length: 500 }, (_, i) => `topic ${i}`),
    )
    await enqueue('select 3', ['topic 77'])
    await inEachSize(async (size) => {
      const lines = await write(size, 'status')
      expectFit(lines, size.columns)
      expectTopicsInLine(lines)
      const head = lines.findIndex((line) => line.startsWith('topic '))
      expect(lines.indexOf('left with 0') - head).toBeLessThan(size.rows)
      expect(lines.join('\n')).toMatch(/^topic 77 +2 /m)
      expect(lines.join('\n')).toMatch(/^\d+ others +\d+ [\s\S]*^all +513 /m)
      expect(lines.join('\n')).toMatch(/^To see the others: pgbq status --watch, or pgbq status \| less$/m)
      const terminal = await watch(size, /^ topic 1-\d+\/512 /m)
      terminal.press('End')
      expectFit(await terminal.shows(/^>漢字 仕事 +1 /m), size.columns)
    })
  })

  test('100,000 closed tasks are counted by status and estimated by the live view', async () => {
    await db.owner.query(`insert into pg_background_tasks (sql_statement, topic, state, started_at, closed_at, errors, joined_at)
      select 'select ' || i, 'topic ' || i % 500, case when i % 10 = 0 then 'failed' else 'finished' end::pg_background_queue_task_state,
        now() - interval '1 hour', now() - interval '1 hour', case when i % 10 = 0 then 'ERROR' end, now() - interval '1 day'
      from generate_series(1, 100000) i`)
    await inEachSize(async (size) => {
      const lines = await write(size, 'status', 'prune --keep 7 --dry-run', 'why 50000')
      expectFit(lines, size.columns)
      expectTopicsInLine(lines)
      expect(lines.join('\n')).toMatch(/^all +513 +0 +0 +10000 +90000 +0$/m)
      expect(lines.join('\n')).toMatch(/^Nothing was deleted\. 99,993 closed tasks would be\nleft with 0$/m)
      await watch(size, /^>all topics +513 +0\/\d+ +0 +~\d+k +~\d+k /m)
    })
  })
})
