import { Chalk } from 'chalk'

/** Colours only for a terminal, and never under NO_COLOR. */
const hasColor = process.stdout.isTTY === true && !process.env.NO_COLOR && process.env.TERM !== 'dumb'
const chalk = new Chalk({ level: hasColor ? 1 : 0 })

const STATE_COLORS = {
  pending: chalk.cyan,
  running: chalk.blue,
  retrying: chalk.yellow,
  failed: chalk.red,
  finished: chalk.green,
  cancelled: chalk.gray,
} as const

export type TaskState = keyof typeof STATE_COLORS
export const TASK_STATES = Object.keys(STATE_COLORS) as TaskState[]

/** A state in its colour. */
export function colorState(state: string, text = state): string {
  return STATE_COLORS[state as TaskState]?.(text) ?? text
}

export default chalk
