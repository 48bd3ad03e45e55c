import chalk from './color.js'
import { plain } from './plain.js'
import { displayWidth, pad, shorten } from './width.js'

const GAP = '  '
const LEAST_WIDTH = 8

/**
 * Columns of a table as people read it; no frame, so that it can be piped into other tools. On a terminal the
 * `flexible` columns, whose cells have no colour, are shortened until a line fits.
 */
export function renderTable(head: string[], rows: string[][], flexible: number[] = []): string {
  const fitting = fit(head, rows, flexible, process.stdout.isTTY ? process.stdout.columns : undefined)
  const lines = [head.map((title) => chalk.bold(title)), ...fitting]
  const widths = columnWidths(lines)
  return lines
    .map((line) =>
      line
        .map((cell, i) => (i === line.length - 1 ? cell : pad(cell, widths[i]!)))
        .join(GAP)
        .trimEnd(),
    )
    .join('\n')
}

const columnWidths = (lines: string[][]): number[] =>
  (lines[0] ?? []).map((_, i) => lines.reduce((width, line) => Math.max(width, displayWidth(line[i]!)), 0))

/** The rows with their flexible cells shortened, the widest column first, until a line fits in `columns`. */
export function fit(head: string[], rows: string[][], flexible: number[], columns?: number): string[][] {
  if (columns === undefined || flexible.length === 0) return rows
  const widths = columnWidths([head, ...rows])
  let excess = widths.reduce((sum, width) => sum + width + GAP.length, -GAP.length) - columns
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
