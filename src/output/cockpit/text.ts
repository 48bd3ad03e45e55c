import type { WatchedTopic } from '../../engine/watch/picture.js'
import chalk from '../color.js'
import { sayDuration } from '../duration.js'
import { plain, plainTopic } from '../plain.js'
import { beginning, pad, shorten } from '../width.js'

export interface Size {
  columns: number
  rows: number
}

export interface Cell {
  text: string
  width: number
  isRight?: boolean
  paint?: (text: string) => string
}

/** One line of a table: cells in their widths, a blank between them. */
export function tableLine(cells: Cell[], isSelected = false): string {
  const parts = cells.map(({ text, width, isRight, paint }) => {
    const cell = pad(shorten(text, width), width, isRight)
    return isSelected || paint === undefined ? cell : paint(cell)
  })
  return isSelected ? chalk.inverse(`>${parts.join(' ')}`) : ` ${parts.join(' ')}`
}

/** The width that the other cells of a line leave. */
export const restOf = (columns: number, widths: number[]): number =>
  Math.max(4, columns - 2 - widths.reduce((sum, width) => sum + width + 1, 0))

/** A number in few places; `~` before an estimate, which has no more than two digits that mean something. */
export function sayCount({ count, isEstimate }: { count: number; isEstimate: boolean }): string {
  const said = isEstimate ? Number(count.toPrecision(2)) : count
  if (said < (isEstimate ? 1e4 : 1e6)) return `${isEstimate ? '~' : ''}${said}`
  const [size, unit] = said >= 1e9 ? [1e9, 'G'] : said >= 1e6 ? [1e6, 'M'] : [1e3, 'k']
  return `${isEstimate ? '~' : ''}${Number((said / size).toPrecision(isEstimate ? 2 : 3))}${unit}`
}

export const topicName = (topic: string | null): string => (topic === null ? '(no topic)' : plainTopic(topic))

export function sayLimit({
  limit,
  paused,
  delay_in_sec,
}: Pick<WatchedTopic, 'limit' | 'paused' | 'delay_in_sec'>): string {
  return paused ? 'paused' : `${limit}${delay_in_sec > 0 ? ` every ${sayDuration(delay_in_sec)}` : ''}`
}

/** A stranger's text in lines of at most that many places. */
export function wrap(text: string, columns: number): string[] {
  return plain(text)
    .replaceAll('\t', '    ')
    .split('\n')
    .flatMap((line) => {
      const lines: string[] = []
      let rest = line
      do {
        const part = beginning(rest, Math.max(2, columns))
        lines.push(part)
        rest = rest.slice(part.length)
      } while (rest !== '')
      return lines
    })
}
