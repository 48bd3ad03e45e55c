import type { Check, Level } from '../engine/doctor/check.js'
import chalk from './color.js'
import { hidePasswords, plain } from './plain.js'

const COLORS = { ok: chalk.green, warning: chalk.yellow, problem: chalk.red } as const
const LEVEL_WIDTH = 'problem'.length
const NAME_WIDTH = 'connections'.length
const INDENT = LEVEL_WIDTH + NAME_WIDTH + 4
/** further left, so that a command seldom breaks */
const FIX_INDENT = LEVEL_WIDTH + 2

/** A line for each check, its fix below it, and the sum. `columns`: of the terminal; undefined: lines as long as they are. */
export function doctorText(checks: Check[], columns?: number): string {
  const lines = checks.map((check) => checkLines(check, columns))
  return [...lines, '', sum(checks)].join('\n')
}

function checkLines({ name, level, message, fix }: Check, columns?: number): string {
  const head = `${COLORS[level](level.padEnd(LEVEL_WIDTH))}  ${name.padEnd(NAME_WIDTH)}  `
  const text = plain(hidePasswords(message)).replaceAll('\n', ' ')
  const way = fix === null ? '' : `\n${' '.repeat(FIX_INDENT)}Try this: ${plain(fix)}`
  return head + wrap(text, columns) + way
}

/** Broken at blanks, so that a terminal need not break inside a word. */
function wrap(text: string, columns = Number.POSITIVE_INFINITY): string {
  const width = Math.max(columns - INDENT, 20)
  const lines = ['']
  for (const word of text.split(' ')) {
    const last = lines.at(-1)!
    if (last !== '' && last.length + 1 + word.length > width) lines.push(word)
    else lines[lines.length - 1] = last === '' ? word : `${last} ${word}`
  }
  return lines.join(`\n${' '.repeat(INDENT)}`)
}

/** What is not well is named again: on a small terminal its lines have gone by. */
function sum(checks: Check[]): string {
  const named = (level: Level) => checks.filter((check) => check.level === level).map((check) => check.name)
  const say = (level: 'warning' | 'problem') => {
    const names = named(level)
    const head = `${names.length} ${level}${names.length === 1 ? '' : 's'}`
    return names.length === 0 ? head : COLORS[level](`${head} (${[...new Set(names)].join(', ')})`)
  }
  return `${named('ok').length} ok, ${say('warning')}, ${say('problem')}`
}
