import { describe, expect, test } from 'vitest'
import { makeTasks } from '../bench/ledger.js'
import { type Outcome, summarize } from '../bench/outcome.js'
import { readOptions } from '../bench/peers-options.js'
import { peersMarkdown } from '../bench/peers-report.js'
import { betweenMarks } from '../bench/readme.js'

const SYSTEM = { name: 'some-queue', version: '1.2.3', documented: '4 h' }
const at = (seconds: number): string => new Date(Date.UTC(2026, 0, 1) + seconds * 1000).toISOString()
const row = (n: number, startedAt: number) => ({ n, started: at(startedAt), ended: at(startedAt + 0.1) })
const tasks = (count: number) => makeTasks(count, 1)

describe('the outcome', () => {
  test('counts a task that has two rows as run twice, with the time from the kill to its second start', () => {
    const outcome = summarize(
      SYSTEM,
      tasks(2),
      [{ n: 2, killedAt: at(5.05) }],
      [row(1, 4), row(2, 5), row(2, 905.05)],
      { open: [], failed: [] },
    )
    expect(outcome).toMatchObject({ finished: 2, twice: 1, missing: 0, stuck: 0, unharmed: 0 })
    expect(outcome.recovery).toEqual({ count: 1, p50: 900, p95: 900, max: 900 })
  })

  test('counts a task whose killed run wrote its row, but which is held as running, as stuck and not as lost', () => {
    const outcome = summarize(SYSTEM, tasks(1), [{ n: 1, killedAt: at(5.05) }], [row(1, 5)], {
      open: [1],
      failed: [],
    })
    expect(outcome).toMatchObject({ finished: 0, stuck: 1, missing: 0, twice: 0, unharmed: 0 })
    expect(outcome.recovery).toEqual({ count: 0, p50: null, p95: null, max: null })
  })

  test('counts a finished task without a row as lost', () => {
    expect(summarize(SYSTEM, tasks(3), [], [row(2, 1)], { open: [3], failed: [] })).toMatchObject({
      finished: 2,
      stuck: 1,
      missing: 2,
    })
  })

  test('counts a killed task that was finished without a second start as unharmed', () => {
    const kills = [{ n: 1, killedAt: at(5.05) }]
    expect(summarize(SYSTEM, tasks(1), kills, [row(1, 5)], { open: [], failed: [] })).toMatchObject({
      unharmed: 1,
      recovery: { count: 0 },
    })
  })

  test('gives the smallest time that half, 95 of 100 and all do not exceed', () => {
    const numbers = Array.from({ length: 20 }, (_, i) => i + 1)
    const kills = numbers.map((n) => ({ n, killedAt: at(0) }))
    const ledger = numbers.map((n) => row(n, n))
    const { recovery } = summarize(SYSTEM, tasks(20), kills, ledger, { open: [], failed: [] })
    expect(recovery).toEqual({ count: 20, p50: 10, p95: 19, max: 20 })
  })
})

describe('the table for the README', () => {
  const outcome: Outcome = {
    ...SYSTEM,
    ...{ tasks: 20, kills: 2, finished: 20, failed: 0, stuck: 0, missing: 0, twice: 0, unharmed: 0 },
    recovery: { count: 2, p50: 0.1, p95: 0.25, max: 0.25 },
  }
  const none = { count: 0, p50: null, p95: null, max: null }
  test.each([
    ['recovered', {}, '100 ms / 250 ms / 250 ms'],
    ['stuck', { finished: 18, stuck: 2, recovery: none }, 'not within 60 s (documented: 4 h)'],
    [
      'half stuck',
      { finished: 19, stuck: 1, recovery: { ...outcome.recovery, count: 1 } },
      '100 ms / 250 ms / 250 ms; 1 not within 60 s (documented: 4 h)',
    ],
    ['not killed', { kills: 0, recovery: none }, '–'],
    ['killed too late', { unharmed: 2, recovery: none }, '–'],
  ])('says of a queue that is %s when killed tasks ran again', (_, changes, words) => {
    const options = readOptions(['--tasks', '20', '--kills', '2'])!
    const origin = { commit: 'abc1234', date: '2026-01-02', postgres: '18.4' }
    const lines = peersMarkdown([{ ...outcome, ...changes }], options, origin).split('\n')
    expect(lines[2]!.split(' | ').at(-1)).toBe(`${words} |`)
    expect(lines.at(-1)).toContain('--tasks 20 --kills 2 --workers 4 --watch 60s --seed 1` at commit abc1234')
  })

  test('takes the place of what stood between its marks, and of nothing else', () => {
    expect(betweenMarks('a\n<!-- peers -->\nold\n<!-- peersstop -->\nz', 'peers', 'new')).toBe(
      'a\n<!-- peers -->\nnew\n<!-- peersstop -->\nz',
    )
  })

  test.each([
    '',
    '<!-- peers -->',
    '<!-- peersstop --> <!-- peers -->',
    '<!-- peers --><!-- peers --><!-- peersstop -->',
  ])('is not written into a text with the marks "%s"', (text) =>
    expect(() => betweenMarks(text, 'peers', 'new')).toThrow('Expected "<!-- peers -->"'),
  )
})

test.each([
  [['--tasks', '0'], '--tasks to be an integer of at least 2'],
  [['--tasks', 'many'], '--tasks to be an integer of at least 2'],
  [['--tasks', '10', '--kills', '10'], 'fewer kills than 10 tasks'],
  [['--workers', '0'], '--workers to be an integer of at least 1'],
  [['--seed', '-1'], '--seed'],
  [['--watch', 'long'], '--watch to be a duration'],
  [['--system', 'cron'], '--system to be one of pgbq, graphile-worker, pg-boss, got "cron"'],
  [['--speed'], '--speed'],
])('the flags %j are refused', (args, message) => {
  expect(() => readOptions(args)).toThrow(message)
})

test('a seed always makes the same tasks, another seed others, all of 50 to 300 ms', () => {
  expect(makeTasks(50, 3)).toEqual(makeTasks(50, 3))
  expect(makeTasks(50, 3)).not.toEqual(makeTasks(50, 4))
  const lengths = makeTasks(500, 3).map(({ ms }) => ms)
  expect(Math.min(...lengths)).toBeGreaterThanOrEqual(50)
  expect(Math.max(...lengths)).toBeLessThanOrEqual(300)
  expect(new Set(lengths).size).toBeGreaterThan(100)
})
