import { median } from './statistics.js'

/** What was measured: in which case, of whom, and in which unit, such as `tasks/s`. */
export interface Figure {
  case: string
  who: string
  what: string
}

/** A figure's values, one a round. */
export interface Series extends Figure, Summary {
  values: number[]
}

export interface Summary {
  median: number
  min: number
  max: number
}

/** What a figure has to reach: by itself, or beside another one of the same case and unit in the same round. */
export interface Bar extends Figure {
  beside?: { who: string; by: 'ratio' | 'difference' }
  atLeast?: number
  atMost?: number
  /** what would be better still */
  goal?: number
}

/** A bar with what was reached, judged by the median of the rounds; null where a figure is missing. */
export interface Verdict extends Bar {
  reached: Summary | null
  isMet: boolean | null
}

/** The figures of one scenario. */
export class Figures {
  private readonly all = new Map<string, { figure: Figure; values: Map<number, number> }>()
  private readonly bars: Bar[] = []

  /** One value of this round. */
  add(round: number, figure: Figure, value: number): void {
    const key = keyOf(figure)
    const known = this.all.get(key) ?? { figure, values: new Map<number, number>() }
    known.values.set(round, value)
    this.all.set(key, known)
  }

  /** Asked once a figure, however often it is said. */
  bar(bar: Bar): void {
    const isKnown = (known: Bar): boolean =>
      keyOf(known) === keyOf(bar) && known.beside?.who === bar.beside?.who
    if (!this.bars.some(isKnown)) this.bars.push(bar)
  }

  series(): Series[] {
    return [...this.all.values()].map(({ figure, values }) => ({
      ...figure,
      values: [...values.values()],
      ...summarize([...values.values()]),
    }))
  }

  verdicts(): Verdict[] {
    return this.bars.map((bar) => {
      const reached = this.reached(bar)
      if (reached.length === 0) return { ...bar, reached: null, isMet: null }
      const summary = summarize(reached)
      return { ...bar, reached: summary, isMet: isMet(bar, summary.median) }
    })
  }

  /** Round by round, for the machine of one round is not that of the next. */
  private reached(bar: Bar): number[] {
    const own = this.all.get(keyOf(bar))?.values ?? new Map<number, number>()
    const { beside } = bar
    if (beside === undefined) return [...own.values()]
    const other = this.all.get(keyOf({ ...bar, who: beside.who }))?.values
    return [...own].flatMap(([round, value]) => {
      const beside_ = other?.get(round)
      if (beside_ === undefined) return []
      return [beside.by === 'ratio' ? value / beside_ : value - beside_]
    })
  }
}

function isMet({ atLeast, atMost }: Bar, value: number): boolean {
  return value >= (atLeast ?? Number.NEGATIVE_INFINITY) && value <= (atMost ?? Number.POSITIVE_INFINITY)
}

export function summarize(values: number[]): Summary {
  return { median: median(values), min: Math.min(...values), max: Math.max(...values) }
}

const keyOf = ({ case: in_, who, what }: Figure): string => JSON.stringify([in_, who, what])
