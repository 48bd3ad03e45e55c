import { Chalk, type ChalkInstance } from 'chalk'
import { sayDuration } from './duration.js'

/** What the screen needs of a stream: process.stderr has it. */
export interface Output {
  write(text: string): unknown
  isTTY?: boolean
  columns?: number
}

const MARKS = { done: '✓', failed: '✗', again: '↻' } as const

/** The story of a demo: lines that stay, and on a terminal one line below them that is written over. */
export class Screen {
  readonly isLive: boolean
  private readonly output: Output
  private readonly paint: ChalkInstance
  private steps = 0
  private hasLive = false

  constructor(output: Output, env: NodeJS.ProcessEnv = process.env) {
    this.output = output
    this.isLive = output.isTTY === true && env.TERM !== 'dumb'
    this.paint = new Chalk({ level: this.isLive && !env.NO_COLOR ? 1 : 0 })
  }

  /** A heading: what comes now, and in a few words why. */
  step(title: string, why: string): void {
    this.steps++
    this.line(`${this.steps === 1 ? '' : '\n'}${this.paint.bold(`${this.steps}. ${title}`)}\n   ${why}`)
  }

  /** What was done in a step. `ms`: how long it took. */
  item(kind: keyof typeof MARKS, text: string, ms?: number): void {
    const color = { done: this.paint.green, failed: this.paint.red, again: this.paint.yellow }[kind]
    const took = ms === undefined ? '' : this.paint.dim(`  ${sayDuration(ms / 1000)}`)
    this.line(`   ${color(MARKS[kind])} ${text}${took}`)
  }

  /** A line that stays. */
  line(text: string): void {
    this.live('')
    this.output.write(`${text}\n`)
  }

  /** The line that is written over; silent where it is no terminal. */
  live(text: string): void {
    if (!this.isLive || (text === '' && !this.hasLive)) return
    this.hasLive = text !== ''
    const short = text.slice(0, (this.output.columns ?? 80) - 1)
    this.output.write(`\r\x1b[K${this.paint.cyan(short)}`)
  }
}
