import type { State } from '../../engine/watch/look.js'
import type { Picture, States, WatchedTopic } from '../../engine/watch/picture.js'
import chalk, { colorState } from '../color.js'
import { sayDuration } from '../duration.js'
import { sparkline } from '../sparkline.js'
import { displayWidth } from '../width.js'
import { type Cell, restOf, type Size, sayCount, sayLimit, tableLine, topicName } from './text.js'
import { lineKeys, selectedIndex, shownTopics, type Ui } from './ui.js'

const WIDTHS = { pending: 7, running: 7, retrying: 8, failed: 6, finished: 8, cancelled: 9 } as const
const STATES = Object.keys(WIDTHS) as State[]
const NARROW: State[] = ['pending', 'running', 'failed', 'finished']
const OLDEST = 7
const LIMIT = 16
const LINE = 30
const LONG_LINE = 60
const LEAST_NAME = 18

/** The columns that a terminal has room for. */
interface Shape {
  states: State[]
  isWide: boolean
  name: number
  line: number
}

/** Counts per topic and state, with limits; on a wide terminal what ended in the last minute too. */
export function topicsPage(ui: Ui, picture: Picture, { columns, rows }: Size): string[] {
  const topics = shownTopics(ui, picture)
  const keys = lineKeys(ui, picture)
  const index = selectedIndex(ui, keys)
  const line = columns >= 160 ? LONG_LINE : LINE
  const shape: Shape = { states: columns < 72 ? NARROW : STATES, isWide: columns >= 120, name: 0, line }
  const others = [
    ...shape.states.map((state) => WIDTHS[state]),
    OLDEST,
    ...(shape.isWide ? [LIMIT, line] : []),
  ]
  shape.name = Math.min(restOf(columns, others), longestName(picture.topics))
  const lines = [
    ...(ui.search === '' ? [wholeLine(picture, shape, index === 0)] : []),
    ...topics.map((topic, i) => topicLine(topic, shape, index === i + keys.length - topics.length)),
  ]
  const first = Math.floor(index / (rows - 1)) * (rows - 1)
  const head = headLine(
    shape,
    keys.length > rows - 1 ? titleOf(first, rows - 1, lines.length - topics.length, topics.length) : 'topic',
  )
  if (topics.length === 0 && ui.search !== '') return [head, ` No topic has "${ui.search}" in its name`]
  return [head, ...lines.slice(first, first + rows - 1)]
}

/** So wide as names need, that numbers stand near them. */
const longestName = (topics: WatchedTopic[]): number =>
  topics.reduce((width, { topic }) => Math.max(width, displayWidth(topicName(topic))), LEAST_NAME)

/** Which of the topics are shown; the first lines may be of the whole queue. */
function titleOf(first: number, rows: number, whole: number, all: number): string {
  return `topic ${Math.max(1, first + 1 - whole)}-${Math.min(first + rows - whole, all)}/${all}`
}

function headLine({ name, isWide, states, line }: Shape, title: string): string {
  const cells: Cell[] = [
    { text: title, width: name },
    ...states.map((state) => ({ text: state, width: WIDTHS[state], isRight: true })),
    { text: 'waiting', width: OLDEST, isRight: true },
  ]
  if (isWide) cells.push({ text: 'limit', width: LIMIT }, { text: 'ended in the last minute', width: line })
  return chalk.bold(tableLine(cells))
}

function wholeLine(picture: Picture, shape: Shape, isSelected: boolean): string {
  const { queue, states, due, ends } = picture
  const whole = { topic: null, ...queue, states, due, ends }
  return tableLine(cellsOf('all topics', whole, shape), isSelected)
}

function topicLine(topic: WatchedTopic, shape: Shape, isSelected: boolean): string {
  return tableLine(cellsOf(topicName(topic.topic), topic, shape), isSelected)
}

function cellsOf(
  title: string,
  topic: WatchedTopic,
  { name, isWide, states: shown, line: width }: Shape,
): Cell[] {
  const { states, due, ends } = topic
  const cells: Cell[] = [
    { text: title, width: name },
    ...shown.map((state) => stateCell(state, states, topic)),
    {
      text: due === null ? '' : `${states.pending.isEstimate ? '~' : ''}${sayDuration(due).replace(' ', '')}`,
      width: OLDEST,
      isRight: true,
    },
  ]
  if (!isWide) return cells
  const sum = ends.finished.map((n, i) => n + ends.failed[i]!)
  const line = sum.some((n) => n > 0) ? sparkline(sum, width) : ''
  return [
    ...cells,
    { text: sayLimit(topic), width: LIMIT, ...(topic.paused ? { paint: chalk.yellow } : {}) },
    { text: line, width, paint: ends.failed.some((n) => n > 0) ? chalk.yellow : chalk.green },
  ]
}

function stateCell(state: State, states: States, { limit, paused }: WatchedTopic): Cell {
  const tally = states[state]
  const running = paused ? `${tally.count}/paused` : `${tally.count}/${limit}`
  return {
    text: state !== 'running' ? sayCount(tally) : running.length > WIDTHS.running ? 'paused' : running,
    width: WIDTHS[state],
    isRight: true,
    paint: (text) =>
      state === 'running' && (paused || limit === 0)
        ? chalk.yellow(text)
        : tally.count === 0
          ? chalk.dim(text)
          : colorState(state, text),
  }
}
