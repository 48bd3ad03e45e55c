import { stripVTControlCharacters } from 'node:util'
import Table from 'cli-table3'
import chalk from './color.js'
import { plain } from './plain.js'

const FRAME = [
  'top',
  'top-mid',
  'top-left',
  'top-right',
  'bottom',
  'bottom-mid',
  'bottom-left',
  'bottom-right',
  'left',
  'left-mid',
  'mid',
  'mid-mid',
  'right',
  'right-mid',
  'middle',
]
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
    chars: Object.fromEntries(FRAME.map((part) => [part, ''])),
  })
  table.push(...fit(head, rows, flexible, process.stdout.isTTY ? process.stdout.columns : undefined))
  return table
    .toString()
    .split('\n')
    .map((line) => line.trimEnd())
    .join('\n')
}

/** The rows with their flexible cells shortened, the widest column first, until a line fits in `columns`. */
export function fit(head: string[], rows: string[][], flexible: number[], columns?: number): string[][] {
  if (columns === undefined || flexible.length === 0) return rows
  const widths = head.map((title, i) => Math.max(...[title, ...rows.map((row) => row[i]!)].map(displayWidth)))
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
  return shorten(plain((text ?? '').replace(/\s+/g, ' ').trim()), length)
}

const WIDE =
  /\p{Extended_Pictographic}|[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{20000}-\u{3fffd}]/u

const characterWidth = (character: string): number => (WIDE.test(character) ? 2 : 1)

function displayWidth(text: string): number {
  return [...stripVTControlCharacters(text)].reduce((sum, character) => sum + characterWidth(character), 0)
}

/** The text in at most that many places of a terminal, never cut inside a character. */
function shorten(text: string, width: number): string {
  if (displayWidth(text) <= width) return text
  let kept = ''
  let left = width - 1
  for (const character of text) {
    left -= characterWidth(character)
    if (left < 0) break
    kept += character
  }
  return `${kept}…`
}
