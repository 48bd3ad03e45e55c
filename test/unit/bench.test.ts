import { describe, expect, test } from 'vitest'
import { expectedRows, statementOf } from '../bench/queues/workload.js'
import { readBenchOptions } from '../bench/speed/bench-options.js'
import { resultText } from '../bench/speed/bench-report.js'
import { Figures } from '../bench/speed/figures.js'
import { median, percentile } from '../bench/speed/statistics.js'

const SCENARIOS = [
  { name: 'drain', about: 'empties a queue' },
  { name: 'long', about: 'takes long', isLong: true as const },
]
const CASE = { case: 'one', what: 'tasks/s' }
const RATIO = { ...CASE, who: 'ours', beside: { who: 'theirs', by: 'ratio' as const } }

function measured(ours: number[], theirs: number[]): Figures {
  const figures = new Figures()
  for (const [round, value] of ours.entries()) figures.add(round, { ...CASE, who: 'ours' }, value)
  for (const [round, value] of theirs.entries()) figures.add(round, { ...CASE, who: 'theirs' }, value)
  return figures
}

describe('a bar', () => {
  test('is judged by the median of the rounds, each round beside itself', () => {
    const figures = measured([10, 30, 100], [10, 10, 200])
    figures.bar({ ...RATIO, atLeast: 1 })
    expect(figures.verdicts()[0]).toMatchObject({ reached: { median: 1, min: 0.5, max: 3 }, isMet: true })
  })

  test.each([
    [{ ...RATIO, atLeast: 2.1 }, false],
    [{ ...RATIO, atLeast: 2 }, true],
    [{ ...RATIO, atMost: 1.9 }, false],
    [{ ...RATIO, beside: { who: 'theirs', by: 'difference' as const }, atMost: 10 }, true],
    [{ ...RATIO, beside: { who: 'theirs', by: 'difference' as const }, atMost: 9 }, false],
    [{ ...CASE, who: 'ours', atLeast: 20 }, true],
    [{ ...CASE, who: 'ours', atLeast: 21 }, false],
    [{ ...RATIO, beside: { who: 'nobody', by: 'ratio' as const }, atLeast: 0 }, null],
    [{ ...RATIO, case: 'another', atLeast: 0 }, null],
  ])('%j is met: %s', (bar, isMet) => {
    const figures = measured([20], [10])
    figures.bar(bar)
    expect(figures.verdicts().map((verdict) => verdict.isMet)).toEqual([isMet])
  })

  test.each([
    [0.3, 'not met'],
    [0.4, 'met'],
    [0.5, 'met, goal too'],
  ])('at %d of 0.4 with a goal of 0.5 is shown as "%s"', (value, words) => {
    const figures = measured([value], [1])
    figures.bar({ ...RATIO, atLeast: 0.4, goal: 0.5 })
    const text = resultText({ name: 'drain', seconds: 1, figures: [], bars: figures.verdicts() })
    expect(text).toContain('tasks/s: ours / theirs ≥ 0.4 (goal 0.5)')
    expect(text.split('\n').at(-1)).toMatch(new RegExp(`  ${words}$`))
  })
})

test('a scenario that did not come to its end is shown as failed, with what it had found', () => {
  const result = {
    name: 'drain',
    seconds: 1,
    figures: measured([12_345], []).series(),
    bars: [],
    error: 'Two rows',
  }
  expect(resultText(result)).toMatch(/ours +12,345 .*FAILED: Two rows$/s)
})

test('the median of an even number is the mean of the middle two; a percentile is one of the values', () => {
  expect(median([4, 1, 3, 2])).toBe(2.5)
  expect(median([3, 1, 2])).toBe(2)
  const hundred = Array.from({ length: 100 }, (_, i) => 100 - i)
  expect([0.5, 0.95, 0.99, 1].map((share) => percentile(hundred, share))).toEqual([50, 95, 99, 100])
})

test('of a workload with marks the first task and each hundredth write a row', () => {
  const work = { count: 300, template: 'insert {n}', marks: { every: 100, otherwise: 'select 1' } }
  const written = Array.from({ length: 300 }, (_, i) => statementOf(work, i + 1)).filter(
    (sql) => sql !== 'select 1',
  )
  expect(written).toEqual(['insert 1', 'insert 100', 'insert 200', 'insert 300'])
  expect(expectedRows(work)).toBe(written.length)
})

describe('the flags of the benchmark', () => {
  test('run all scenarios but the long ones, unless they are named', () => {
    expect(readBenchOptions([], SCENARIOS)).toMatchObject({
      only: ['drain'],
      isNamed: false,
      rounds: 3,
      scale: 1,
    })
    expect(readBenchOptions(['--only', 'long'], SCENARIOS)).toMatchObject({ only: ['long'], isNamed: true })
  })

  test('tell of every scenario in the help', () => {
    expect(readBenchOptions(['--help'], SCENARIOS)).toMatch(
      /drain +empties a queue\n +long +takes long \(only by --only\)/,
    )
  })

  test.each([
    [['--only', 'drian'], '--only to be one of drain, long, got "drian"'],
    [['--rounds', '0'], '--rounds to be an integer of at least 1'],
    [['--scale', '0'], '--scale to be a number above 0'],
    [['--scale', '-1'], '--scale'],
    [['--slots', 'four'], '--slots to be an integer'],
    [['--group', '1'], '--group to be an integer of at least 2'],
    [['--rate', '0'], '--rate to be an integer of at least 1'],
    [['--speed'], '--speed'],
  ])('are refused: %j', (args, message) => {
    expect(() => readBenchOptions(args, SCENARIOS)).toThrow(message)
  })
})
