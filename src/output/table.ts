import Table from 'cli-table3'
import chalk from './color.js'
import { plain } from './plain.js'
import { displayWidth, shorten } from './width.js'

const FRAME = ['top', 'bottom', 'left', 'right', 'mid'].flatMap((side) => [
  side,
  `${side}-mid`,
  `${side}-left`,
  `${side}-right`,
])
const GAP = 2
const LEAST_WIDTH = 8

/**
 * Columns of a table as people read it; no frame, so that it can be piped into other tools. On a terminal the
 * `flexible` columns, whose cells have no colour, are shortened until a line fits.
 */
export function renderTable(head: string[], rows: string[][], flexible: number[] = []): string {
  const table = new Table({
    head: head.map((title) => chalk.bold(title)),
    style: { head: [], border: [], compact: true, 'padding-left': 0, 'padding-right': GAP },
    chars: Object.fromEntries([...FRAME, 'middle'].map((part) => [part, ''])),
  })
  table.push(...fit(head, rows, flexible, process.stdout.isTTY ? process.stdout.columns : undefined))
  return table
    .toString()
    .split('\n')
    .map((line) => line.trimEnd())
    .join('\n')
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
