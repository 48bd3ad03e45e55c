import { stripVTControlCharacters } from 'node:util'
import { describe, expect, test } from 'vitest'
import type { Look } from '../../src/engine/watch/look.js'
import { Painter, type Picture } from '../../src/engine/watch/picture.js'
import { drawScreen, pageRows } from '../../src/output/cockpit/screen.js'
import { sayCount, wrap } from '../../src/output/cockpit/text.js'
import { FIRST, press, requestOf, type Ui } from '../../src/output/cockpit/ui.js'
import { sparkline } from '../../src/output/sparkline.js'
import { displayWidth } from '../../src/output/width.js'

const EMPTY: Look = {
  now: 1_800_000_000.5,
  blocks: 1,
  isWaitingWhole: true,
  oldest: [],
  counts: [],
  sample: [],
  closings: [],
  supervisors: 0,
  workers: [],
  lanes: [{ lane: '', max_running: 4, delay_in_sec: 0, paused: false }],
  tasks: [],
  task: null,
}

/** The picture after two looks, as the feed takes them: the second has a sample. */
function paint(look: Partial<Look>): Picture {
  const painter = new Painter()
  painter.demand(0)
  painter.paint({ ...EMPTY, ...look })
  painter.demand(0)
  return painter.paint({ ...EMPTY, ...look })
}

const topics = (count: number) =>
  Array.from({ length: count }, (_, i) => ({
    topic: `topic ${i} 漢字 שלום`,
    state: 'pending' as const,
    count: i + 1,
    due: i,
  }))

const MANY = paint({
  counts: topics(500),
  supervisors: 1,
  workers: Array.from({ length: 8 }, (_, i) => ({
    id: String(i),
    host: 'h'.repeat(60),
    pid: 4_000_000 + i,
    task: i % 2 ? String(2n ** 62n) : null,
    topic: 'مرحبا '.repeat(30),
    sec: 1e6,
    ends: i === 3 ? 'cancel' : null,
    sql: `select '${'漢'.repeat(200)}'`,
  })),
  tasks: Array.from({ length: 300 }, (_, i) => ({
    id: String(i + 1),
    topic: '\u001b[2J',
    state: 'failed' as const,
    sec: 5,
    took: 0.2,
    sql: 'select 1\n'.repeat(30),
  })),
  task: {
    id: '7',
    state: 'failed',
    sql: `select\t'${'x'.repeat(5000)}'\r\n\u001b[2J`,
    bytes: 1_000_000,
    errors: 'ERROR 22012: division by zero\n'.repeat(9),
    row: { topic: 'mail', joined_at: '2027-01-15T08:00:00.123456+00:00', unique_key: null },
    attempts: [
      { ended_at: '2027-01-15T08:00:00Z', outcome: 'failed', sqlstate: '22012', message: 'm'.repeat(500) },
    ],
  },
})

const PAGES: [string, Ui][] = (['topics', 'tasks', 'task', 'workers', 'help'] as const).map((page) => [
  page,
  { ...FIRST, page, task: '7' },
])
const SIZES = [
  [80, 24],
  [200, 50],
  [40, 10],
  [20, 5],
] as const

describe.each(SIZES)('a screen of %i columns and %i rows', (columns, rows) => {
  test.each(PAGES)('holds every line of the page "%s", whatever topics and statements contain', (_, ui) => {
    for (const picture of [MANY, paint({})]) {
      for (const trouble of [undefined, { message: 'm'.repeat(500), sinceMs: 0 }]) {
        const lines = drawScreen({ ui, picture, trouble, place: 'p'.repeat(300) }, { columns, rows }, 5000)
        expect(lines.length).toBeLessThanOrEqual(Math.max(rows, 9))
        expect(lines.filter((line) => displayWidth(line) > columns)).toEqual([])
        expect(stripVTControlCharacters(lines.join(''))).not.toMatch(/\p{Cc}/u)
      }
    }
  })
})

const key = (name: string) => ({ name, text: name, ctrl: false })
const extent = { rows: 10, scrollLimit: 3 }

/** The state of things after these keys, from the first page on. */
function after(...keys: string[]): { ui: Ui; effects: unknown[] } {
  const effects: unknown[] = []
  const ui = keys.reduce((state, name) => {
    const { ui: next, effect } = press(state, key(name), MANY, extent)
    if (effect) effects.push(effect)
    return next
  }, FIRST)
  return { ui, effects }
}

describe('keys', () => {
  test('lead from a topic to its tasks, to one of them, and back to the same places', () => {
    expect(requestOf(FIRST)).toEqual({ topics: undefined, states: undefined, id: undefined })
    expect(requestOf(after('return').ui)).toMatchObject({ topics: [] })
    expect(requestOf(after('down', 'return').ui)).toMatchObject({ topics: ['topic 0 漢字 שלום'] })
    expect(requestOf(after('down', 'return', 'down', 'return').ui)).toMatchObject({
      topics: undefined,
      id: '2',
    })
    const { ui } = after('down', 'return', 'down', 'return', 'escape', 'escape')
    expect(ui).toMatchObject({ page: 'topics', selected: { topics: '/topic 0 漢字 שלום', tasks: '2' } })
  })

  test('keep the selection on its line while others come and go', () => {
    const { ui } = after('down', 'down')
    const later = paint({ counts: topics(500).filter((t) => !t.topic.startsWith('topic 0 ')) })
    const lines = drawScreen(
      { ui, picture: later, trouble: undefined, place: '' },
      { columns: 80, rows: 24 },
      0,
    )
    expect(lines.filter((line) => line.startsWith('>'))).toEqual([expect.stringContaining('topic 1 漢字')])
  })

  test.each([
    [['return', 'r'], []],
    [['return', 'r', 'n'], []],
    [['return', 'r', 'return'], []],
    [['return', 'r', 'q', 'escape'], []],
    [['return', 'r', 'y'], [{ kind: 'act', verb: 'retry', id: '1' }]],
    [['return', 'down', 'r', 'y', 'y'], [{ kind: 'act', verb: 'retry', id: '2' }]],
    [['return', 'c', 'y'], []],
    [['c', 'y'], []],
    [['w', 'down', 'c', 'y'], [{ kind: 'act', verb: 'cancel', id: String(2n ** 62n) }]],
    [['w', 'c', 'y'], []],
    [['q'], [{ kind: 'quit' }]],
    [['/', 'q'], []],
  ])('%j do %j, since only y confirms and only what fits is offered', (keys, effects) => {
    expect(after(...keys).effects).toEqual(effects)
  })

  test('say why a task cannot be cancelled', () => {
    expect(after('return', 'c').ui.message).toBe('Task 1 is failed, so it cannot be cancelled')
  })

  test('after / search topics, until Escape', () => {
    const { ui } = after('/', '4', '9', '9', 'return')
    const lines = drawScreen(
      { ui, picture: MANY, trouble: undefined, place: '' },
      { columns: 80, rows: 24 },
      0,
    )
    expect(lines.filter((line) => /topic \d/.test(line))).toHaveLength(1)
    expect(after('/', '4', '9', '9', 'escape').ui.search).toBe('')
  })

  test('show all states again where another topic is opened', () => {
    expect(after('return', 's', 's').ui.states).toBe(2)
    expect(after('return', 's', 's', 'escape', 'down', 'return').ui.states).toBe(0)
  })

  test('scroll a task no further than its end', () => {
    expect(after('return', 'return', 'end').ui.scroll).toBe(extent.scrollLimit)
    expect(pageRows({ columns: 80, rows: 24 })).toBe(18)
  })
})

describe('a page of 80 columns says', () => {
  const draw = (ui: Ui, picture: Picture) =>
    drawScreen({ ui, picture, trouble: undefined, place: '' }, { columns: 80, rows: 24 }, 0)

  test('which of many topics it shows, the line of all not counted', () => {
    expect(draw(FIRST, MANY)[4]).toMatch(/^ topic 1-10\/500 /)
    expect(draw(after('end').ui, MANY)[4]).toMatch(/^ topic 495-500\/500 /)
  })

  test('that nobody runs what is due, and what to do', () => {
    const picture = paint({ counts: topics(1) })
    expect(draw(FIRST, picture).at(-2)).toContain('Tasks wait, and nobody runs them. Try this: pgbq work')
    expect(draw(FIRST, paint({})).at(-2)).not.toContain('Try this')
  })

  test('of a large table that older tasks are not looked at', () => {
    const picture = paint({ blocks: 200_000 })
    const lines = draw({ ...FIRST, page: 'tasks', states: 3 }, picture)
    expect(lines.slice(5, 7).join()).toContain('the 10,000 that closed last')
    expect(draw({ ...FIRST, page: 'tasks' }, paint({}))[5]).toBe(' No tasks')
  })

  test('all of its help', () => {
    expect(draw({ ...FIRST, page: 'help' }, MANY).join('')).not.toContain('…')
  })
})

describe('counts', () => {
  const closed = (count: number) => [{ topic: 'a', state: 'finished' as const, count, due: null }]

  test('of a small table are counted', () => {
    const { states, sample } = paint({ blocks: 900, sample: closed(12_345) })
    expect(states.finished).toEqual({ count: 12_345, isEstimate: false })
    expect(sample).toBeUndefined()
  })

  test('of closed tasks in a large table are estimated, those of open ones are not', () => {
    const counts = [{ topic: 'a', state: 'pending' as const, count: 3, due: 1 }]
    const { states, sample } = paint({ blocks: 200_000, sample: closed(100), counts })
    expect(sample?.percent).toBe(1)
    expect(states.finished).toEqual({ count: 10_000, isEstimate: true })
    expect(states.pending).toEqual({ count: 3, isEstimate: false })
  })

  test('of waiting tasks are estimated too where there are more than a look reads', () => {
    const sample = [{ topic: 'a', state: 'pending' as const, count: 500, due: 60 }]
    const counts = [{ topic: 'a', state: 'pending' as const, count: 10_001, due: 1 }]
    const picture = paint({ blocks: 200_000, isWaitingWhole: false, sample, counts })
    expect(picture.states.pending).toEqual({ count: 50_000, isEstimate: true })
    expect(picture.due).toBe(60)
  })

  test.each([
    [999_999, false, '999999'],
    [1_234_567, false, '1.23M'],
    [0, true, '~0'],
    [9_876, true, '~9900'],
    [214_999, true, '~210k'],
    [1_024_000, true, '~1M'],
    [56_700_000, true, '~57M'],
  ])('%i (an estimate: %s) is shown as %s', (count, isEstimate, shown) => {
    expect(sayCount({ count, isEstimate })).toBe(shown)
  })
})

test('ends of the last minute are kept by second, and a look that sees less takes none away', () => {
  const painter = new Painter()
  const look = (sec: number, count: number): Look => ({
    ...EMPTY,
    now: EMPTY.now + sec,
    closings: [{ second: 1_799_999_998, topic: 'a', state: 'finished', count }],
  })
  const sums = [look(0, 7), look(1, 3), look(61, 0), look(70, 0)].map((l) =>
    painter
      .paint({ ...l, closings: l.closings.filter((c) => c.count > 0) })
      .ends.finished.reduce((a, b) => a + b, 0),
  )
  expect(sums).toEqual([7, 7, 0, 0])
})

test('a sparkline has a bar for each part of the time, the highest full, the empty lowest', () => {
  expect(sparkline([0, 1, 4, 8], 4)).toBe('▁▂▅█')
  expect(sparkline([0, 0, 4, 4, 8, 0], 3)).toBe('▁██')
  expect(sparkline([0, 0], 2)).toBe('▁▁')
})

test('long lines are wrapped where the terminal ends, wide characters whole', () => {
  expect(wrap('漢字abc\nx', 3)).toEqual(['漢', '字a', 'bc', 'x'])
  expect(wrap('', 3)).toEqual([''])
})
