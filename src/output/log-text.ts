import type { LogLine } from '../engine/log.js'
import chalk, { colorState } from './color.js'
import { plain, plainTopic } from './plain.js'

const WIDEST_KIND = 8

/** Words lines of a log, one after the other, for it tells where lines were left out between two. */
export class LogWriter {
  private readonly last = new Map<bigint, LogLine>()
  private readonly isOfOneTask: boolean

  constructor(isOfOneTask: boolean) {
    this.isOfOneTask = isOfOneTask
  }

  /** A line with its time, and of which task where they are mixed. */
  full(line: LogLine): string {
    const task = this.isOfOneTask ? '' : `task ${line.task_id}${topic(line.topic)} `
    const head = `${chalk.dim(line.at.slice(0, 23).replace('T', ' '))} ${task}${kind(line)} `
    const gap = this.gapBefore(line)
    const left = gap === undefined ? '' : `${chalk.dim(gap)}\n`
    return `${left}${head}${indented(text(line))}`
  }

  /** As psql shows it, for whoever waits for one task; without colours, for stderr may be a file. */
  short(line: LogLine): string {
    const gap = this.gapBefore(line)
    const words = line.kind === 'RESULT' ? text(line) : `${plain(line.kind)}: ${text(line)}`
    return gap === undefined ? words : `${gap}\n${words}`
  }

  private gapBefore(line: LogLine): string | undefined {
    if (line.seq === null) return undefined
    const before = this.last.get(line.task_id)
    if (!before && this.last.size >= 1000) this.last.delete(this.last.keys().next().value!)
    this.last.set(line.task_id, line)
    // what other tasks said before the first line shown was not asked for
    if (!before && !this.isOfOneTask) return undefined
    const isSameRun = before?.attempt === line.attempt && line.seq > before.seq!
    const count = line.seq - 1 - (isSameRun ? before.seq! : 0)
    return count > 0
      ? `… ${count.toLocaleString('en')} ${count === 1 ? 'line' : 'lines'} left out`
      : undefined
  }
}

const KIND_COLORS: Record<string, (text: string) => string> = {
  WARNING: chalk.yellow,
  NOTICE: chalk.cyan,
  RESULT: chalk.dim,
}

function kind({ kind }: LogLine): string {
  const padded = plain(kind).padEnd(WIDEST_KIND)
  return KIND_COLORS[kind]?.(padded) ?? colorState(kind, padded)
}

/** What was said, with its detail and hint on lines of their own. */
function text(line: LogLine): string {
  const { detail, hint } = line
  const parts = [line.source === 'notice' && line.kind !== 'RESULT' ? (line.message ?? '') : outcome(line)]
  if (detail !== null) parts.push(`DETAIL: ${detail}`)
  if (hint !== null) parts.push(`HINT: ${hint}`)
  return plain(parts.join('\n')).trimEnd()
}

function outcome({ source, kind, attempt, statement, sqlstate, message, rows }: LogLine): string {
  const which = statement === null ? '' : `statement ${statement}: `
  const error = sqlstate === null ? '' : `ERROR ${sqlstate}: `
  const count = rows === null || (source === 'end' && kind !== 'finished') ? '' : ` ${rows}`
  const again = source === 'end' && (attempt ?? 1) > 1 ? ` in attempt ${attempt}` : ''
  return `${which}${error}${message ?? ''}${count}${again}`
}

const indented = (text: string): string => text.replaceAll('\n', '\n    ')
const topic = (name: string | null): string => (name === null ? '' : ` [${plainTopic(name)}]`)
