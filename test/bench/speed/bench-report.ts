import Table from 'cli-table3'
import { sayDuration } from '#pgbq/output/duration'
import type { Series, Summary, Verdict } from './figures.js'
import type { Machine } from './machine.js'
import type { ScenarioResult } from './run-bench.js'

/** Where the figures were taken. */
export interface Surroundings {
  machine: Machine
  versions: Record<string, string>
  settings: Record<string, string>
}

export function surroundingsText({ machine, versions, settings }: Surroundings): string {
  const list = (of: Record<string, string>, between: string): string =>
    Object.entries(of)
      .map(([name, value]) => `${name}${between}${value}`)
      .join(', ')
  return [
    `machine   ${machine.cpus} × ${machine.cpu}, ${machine.memoryGb} GB, ${machine.kernel}`,
    `versions  ${list(versions, ' ')}`,
    `server    ${list(settings, ' = ')}`,
  ].join('\n')
}

/** The figures of a scenario, and below them its bars. */
export function resultText(result: ScenarioResult): string {
  return [
    '',
    `${result.name} (${sayDuration(result.seconds)})`,
    ...(result.figures.length > 0 ? [figuresTable(result.figures)] : []),
    ...(result.bars.length > 0 ? [barsTable(result.bars)] : []),
    ...(result.error === undefined ? [] : [`FAILED: ${result.error}`]),
  ].join('\n')
}

function figuresTable(figures: Series[]): string {
  return render(
    ['case', 'who', 'median', 'min to max', 'unit'],
    figures.map((figure) => [figure.case, figure.who, say(figure.median), sayRange(figure), figure.what]),
  )
}

function barsTable(bars: Verdict[]): string {
  return render(
    ['case', 'bar', 'reached', 'min to max', ''],
    bars.map((bar) => [
      bar.case,
      sayBar(bar),
      bar.reached === null ? '–' : say(bar.reached.median),
      bar.reached === null ? '–' : sayRange(bar.reached),
      sayVerdict(bar),
    ]),
  )
}

export function sayBar({ who, what, beside, atLeast, atMost, goal }: Verdict): string {
  const sign = beside === undefined ? '' : beside.by === 'ratio' ? ` / ${beside.who}` : ` − ${beside.who}`
  const limit = atLeast === undefined ? `≤ ${say(atMost!)}` : `≥ ${say(atLeast)}`
  return `${what}: ${who}${sign} ${limit}${goal === undefined ? '' : ` (goal ${say(goal)})`}`
}

export function sayVerdict({ isMet, reached, goal, atLeast }: Verdict): string {
  if (isMet === null || reached === null) return 'not measured'
  if (!isMet) return 'not met'
  if (goal === undefined) return 'met'
  const reachesGoal = atLeast === undefined ? reached.median <= goal : reached.median >= goal
  return reachesGoal ? 'met, goal too' : 'met'
}

const sayRange = ({ min, max }: Summary): string => `${say(min)} – ${say(max)}`

/** Three digits that count. */
function say(value: number): string {
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2
  return value.toLocaleString('en', { maximumFractionDigits: digits, minimumFractionDigits: 0 })
}

const NO_FRAME = Object.fromEntries(
  'top top-mid top-left top-right bottom bottom-mid bottom-left bottom-right left left-mid mid mid-mid right right-mid middle'
    .split(' ')
    .map((part) => [part, '']),
)

function render(head: string[], rows: string[][]): string {
  const table = new Table({
    head,
    chars: NO_FRAME,
    style: { head: [], border: [], compact: true, 'padding-left': 0, 'padding-right': 2 },
  })
  table.push(...rows.map((row, i) => (row[0] === rows[i - 1]?.[0] ? ['', ...row.slice(1)] : row)))
  return `\n${table.toString().replaceAll(/ +$/gm, '')}`
}
