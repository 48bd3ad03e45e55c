import type { Trouble } from '../../engine/watch/feed.js'
import type { Picture } from '../../engine/watch/picture.js'
import chalk from '../color.js'
import { sayDuration } from '../duration.js'
import { sparkline } from '../sparkline.js'
import { oneLine } from '../table.js'
import { displayWidth, shorten } from '../width.js'
import { HELP, taskPage, tasksPage, workersPage } from './pages.js'
import type { Size } from './text.js'
import { topicsPage } from './topics-page.js'
import type { Ui } from './ui.js'

export interface Scene {
  ui: Ui
  /** undefined before the first look */
  picture: Picture | undefined
  trouble: Trouble | undefined
  /** the server and database, in words */
  place: string
}

const HEAD_ROWS = 4
const FOOT_ROWS = 2

/** Lines that a page has on a screen of that size. */
export const pageRows = ({ rows }: Size): number => Math.max(3, rows - HEAD_ROWS - FOOT_ROWS)

/** The whole screen as lines, each of which fits. */
export function drawScreen(scene: Scene, size: Size, nowMs: number): string[] {
  const { ui, picture } = scene
  if (picture === undefined) return [title(scene, size.columns, nowMs)]
  const rows = pageRows(size)
  const page = pageLines(ui, picture, { columns: size.columns, rows })
  const filled = Array.from({ length: rows }, (_, i) => page[i] ?? '')
  const lines = [
    title(scene, size.columns, nowMs),
    throughput(picture, size.columns),
    hands(picture, size.columns),
    '',
    ...filled,
    note(ui, picture, size.columns),
    keys(ui, size.columns),
  ]
  // the columns of a page have least widths
  return lines.map((line) => shorten(line, size.columns))
}

function pageLines(ui: Ui, picture: Picture, size: Size): string[] {
  if (ui.page === 'tasks') return tasksPage(ui, picture, size)
  if (ui.page === 'task') return taskPage(ui, picture, size)
  if (ui.page === 'workers') return workersPage(ui, picture, size)
  if (ui.page === 'help') return HELP.map((line) => ` ${shorten(line, size.columns - 1)}`)
  return withWorkers(ui, picture, size)
}

/** Below the topics as many of the workers as there is room for, those that run something first. */
function withWorkers(ui: Ui, picture: Picture, { columns, rows }: Size): string[] {
  const topics = picture.topics.length + 2
  const wanted = picture.workers.length === 0 ? 0 : picture.workers.length + 2
  const room = Math.max(rows - topics, Math.floor(rows / 3))
  const below = Math.min(wanted, room)
  if (below < 3) return topicsPage(ui, picture, { columns, rows })
  const above = topicsPage(ui, picture, { columns, rows: rows - below })
  const blanks = Array.from({ length: Math.max(0, Math.min(topics, rows - below) - above.length) }, () => '')
  return [...above, ...blanks, '', ...workersPage(ui, picture, { columns, rows: below - 1 })]
}

function title({ place, picture, trouble }: Scene, columns: number, nowMs: number): string {
  if (trouble) {
    const sec = Math.round((nowMs - trouble.sinceMs) / 1000)
    return chalk.inverse.red(
      shorten(` No news for ${sec} s, trying again: ${oneLine(trouble.message, 300)} `, columns),
    )
  }
  const clock = picture ? `${new Date(picture.now * 1000).toISOString().slice(11, 19)} UTC` : 'looking …'
  const left = shorten(` pgbq  ${oneLine(place, 200)}`, columns - clock.length - 2)
  return `${chalk.bold(left)}${' '.repeat(Math.max(1, columns - displayWidth(left) - clock.length - 1))}${clock}`
}

function throughput({ ends, due }: Picture, columns: number): string {
  const sum = (values: number[]) => values.reduce((a, b) => a + b, 0)
  const [done, failed] = [sum(ends.finished), sum(ends.failed)]
  const width = columns >= 150 ? 60 : columns >= 110 ? 30 : 15
  const rate = (sum(ends.finished.slice(-5)) / 5).toFixed(1)
  const parts: [string, (text: string) => string][] = [
    [` finished ${rate}/s `, String],
    [sparkline(ends.finished, width), chalk.green],
    [` ${done}/min   failed ${failed}/min `, String],
    [sparkline(ends.failed, width), failed > 0 ? chalk.red : chalk.dim],
  ]
  if (columns >= 100)
    parts.push([due === null ? '   nothing is due' : `   oldest due task waits ${sayDuration(due)}`, String])
  return fitParts(parts, columns)
}

/** Who works, and what should worry. */
function hands({ supervisors, workers, states, queue, due }: Picture, columns: number): string {
  const idle = workers.filter((w) => w.task === null).length
  const some = (n: number, what: string) => `${n} ${what}${n === 1 ? '' : 's'}`
  const parts: [string, (text: string) => string][] = [
    supervisors === 0
      ? [' No supervisor is alive', due === null ? String : chalk.red]
      : [` ${some(supervisors, 'supervisor')}, ${some(workers.length, 'worker')}, ${idle} idle`, String],
    [`, ${states.running.count} of ${queue.limit} running`, String],
  ]
  if (queue.paused) parts.push([', paused', chalk.yellow])
  if (columns < 100 && due !== null) parts.push([`, oldest due waits ${sayDuration(due)}`, String])
  return fitParts(parts, columns)
}

function fitParts(parts: [string, (text: string) => string][], columns: number): string {
  let left = columns
  return parts
    .map(([text, paint]) => {
      const part = left > 1 ? shorten(text, left) : ''
      left -= displayWidth(part)
      return paint(part)
    })
    .join('')
}

/** One line for what is asked or has happened, else for what the numbers are worth. */
function note(
  { page, confirm, isSearching, search, message }: Ui,
  { sample, due, supervisors }: Picture,
  columns: number,
): string {
  if (confirm) {
    const { verb, id, state } = confirm
    const question = ` ${verb === 'cancel' ? 'Cancel' : 'Retry'} task ${id}, which is ${state}? y yes, any other key no`
    return chalk.inverse(shorten(question, columns))
  }
  if (page === 'topics' && (isSearching || search !== ''))
    return shorten(` Topics with: ${search}${isSearching ? '_' : '   Esc shows all'}`, columns)
  if (message !== '') return shorten(` ${oneLine(message, 500)}`, columns)
  if (supervisors === 0 && due !== null)
    return shorten(' Tasks wait, and nobody runs them. Try this: pgbq work', columns)
  if (!sample) return ''
  const share = sample.percent >= 1 ? sample.percent.toFixed(0) : sample.percent.toPrecision(1)
  const text = ` ~ estimated from ${share} % of the table, ${sayDuration(Math.round(sample.ageSec)).replace('0 ms', '0 s')} ago`
  return chalk.dim(shorten(text, columns))
}

const KEYS = {
  topics: '↑↓ move  Enter tasks  w workers  / search  ? help  q quit',
  tasks: '↑↓ move  Enter task  s state  c cancel  r retry  Esc back  ? help  q quit',
  task: '↑↓ scroll  c cancel  r retry  Esc back  ? help  q quit',
  workers: '↑↓ move  Enter task  c cancel  Esc back  ? help  q quit',
  help: 'Esc back  q quit',
}

const keys = ({ page }: Ui, columns: number): string => chalk.dim(shorten(` ${KEYS[page]}`, columns))
