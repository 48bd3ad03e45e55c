import Table from 'cli-table3'
import chalk from './color.js'
import { plain, plainTopic } from './plain.js'
import { displayWidth, shorten } from './width.js'

const FRAME = ['top', 'bottom', 'left', 'right', 'mid'].flatMap((side) => [
  side,
  `${side}-mid`,
  `${side}-left`,
  `${side}-right`,
])
const GAP = 2
const LEAST_WIDTH = 8
/** so that one long topic does not push the numbers behind it out of sight */
const MOST_OF_A_TOPIC = 60

export interface Columns {
  /** those that are shortened until a line fits; their cells have no colour */
  flexible?: number[]
  /** numbers */
  right?: number[]
}

/**
 * Columns of a table as people read it; no frame, so that it can be piped into other tools. On a terminal the
 * `flexible` columns are shortened until a line fits.
 */
export function renderTable(
  head: string[],
  rows: string[][],
  { flexible = [], right = [] }: Columns = {},
): string {
  const fitted = fit(head, rows, flexible, process.stdout.isTTY ? process.stdout.columns : undefined)
  const standIns = new StandIns()
  const table = new Table({
    head: head.map((title) => chalk.bold(title)),
    style: { head: [], border: [], compact: true, 'padding-left': 0, 'padding-right': GAP },
    chars: Object.fromEntries([...FRAME, 'middle'].map((part) => [part, ''])),
    colAligns: head.map((_, i) => (right.includes(i) ? 'right' : 'left')),
  })
  table.push(...fitted.map((row) => row.map((cell) => standIns.of(cell))))
  return standIns
    .replace(table.toString())
    .split('\n')
    .map((line) => line.trimEnd())
    .join('\n')
}

const STAND_IN = '\ue000'

/**
 * cli-table3 gives vowel signs, joiners and flags other widths than terminals do. A cell beyond Latin goes in as
 * stand-ins, one for each place that it takes, and comes back when the columns are set.
 */
class StandIns {
  private readonly cells: string[] = []

  of(cell: string): string {
    const width = displayWidth(cell)
    if (width === 0) return ''
    if (cell.includes('\n') || !/[\u0300-\u{10ffff}]/u.test(cell)) return cell
    this.cells.push(cell)
    return STAND_IN.repeat(width)
  }

  replace(text: string): string {
    return text.replace(new RegExp(`${STAND_IN}+`, 'g'), () => this.cells.shift() ?? '')
  }
}

const columnWidths = (lines: string[][]): number[] =>
  (lines[0] ?? []).map((_, i) => lines.reduce((width, line) => Math.max(width, displayWidth(line[i]!)), 0))

/** The rows with their flexible cells shortened, the widest column first, until a line fits in `columns`. */
export function fit(head: string[], rows: string[][], flexible: number[], columns?: number): string[][] {
  if (columns === undefined || flexible.length === 0) return rows
  const widths = columnWidths([head, ...rows])
  let excess = widths.reduce((sum, width) => sum + width + GAP, -GAP) - columns
  while (excess > 0) {
    const widest = flexible.reduce((a, b) => (widths[b]! > widths[a]! ? b : a))
    if (widths[widest]! <= LEAST_WIDTH) break
    widths[widest]!--
    excess--
  }
  return rows.map((row) => row.map((cell, i) => (flexible.includes(i) ? shorten(cell, widths[i]!) : cell)))
}

/** One line of a text, shortened, for a cell. */
export function oneLine(text: string | null | undefined, length = 60): string {
  // a statement may have a megabyte, of which a line shows nothing
  const start = (text ?? '').slice(0, 20 * length + 1000)
  return shorten(plain(start.replace(/\s+/g, ' ').trim()), length)
}

/** One line of a text for the last column: on a terminal as much as there is room for, else `width` places. */
export const lastCell = (text: string | null | undefined, width = 60): string =>
  oneLine(text, process.stdout.isTTY ? process.stdout.columns || 80 : width)

/** A topic for a cell; on a terminal its beginning. */
export function topicCell(topic: string): string {
  return process.stdout.isTTY ? shorten(plainTopic(topic), MOST_OF_A_TOPIC) : plainTopic(topic)
}
