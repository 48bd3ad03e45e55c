import type { StatementResult } from '../database/statement.js'
import type { FromWorker, LogLine, RunningTask } from './ipc.js'

/** Of one message, and of each of its detail and hint. */
const LONGEST_TEXT = 16_000
/** Lines that wait to be sent: the first and the last of them are kept. */
const KEPT_AT_EACH_END = 100
/** A line goes out this soon; a flood of them in batches, each once the one before is kept. */
const SOON_MS = 50
const FLOOD_EVERY_MS = 200
/** Results alone can wait: most tasks are over before, and their results go out with their end. */
const RESULTS_AFTER_MS = 1000
/** How long the end of a run waits until its lines are kept. */
const PATIENCE_MS = 250

/** What the server sends beside the answer to a statement. */
export interface Notice {
  severity?: string | undefined
  code?: string | undefined
  message?: string | undefined
  detail?: string | undefined
  hint?: string | undefined
}

/**
 * What a task's statements say, on its way to the supervisor, who keeps it. A task that says nothing sends nothing and
 * waits for nothing. However much one says, little is held here and one batch is on its way: of a flood the middle is
 * left out.
 */
export class Notices {
  /** the statement that runs now, where the text has several */
  statement: number | undefined
  /** undefined: all is kept for the end */
  send: ((messages: FromWorker[]) => void) | undefined
  private task: RunningTask | undefined
  private seq = 0
  private sent = 0
  private first: LogLine[] = []
  private last: LogLine[] = []
  private hasNotice = false
  private isUnderWay = false
  private sentAt = Number.NEGATIVE_INFINITY
  private timer: NodeJS.Timeout | undefined
  private timerAt = Number.POSITIVE_INFINITY
  private onKept: (() => void) | undefined

  begin(task: RunningTask): void {
    this.task = task
    this.seq = 0
    this.sent = 0
    this.statement = undefined
  }

  /** Cheap, for there may be a million: a line is made, and its timer is set by the first. */
  add({ severity, code, message, detail, hint }: Notice): void {
    if (this.task === undefined) return
    const isFirst = !this.hasNotice
    this.keep({
      seq: ++this.seq,
      at: Date.now(),
      severity: severityOf(severity, code),
      code,
      message: shorten(message) ?? '',
      detail: shorten(detail),
      hint: shorten(hint),
      statement: this.statement,
    })
    if (isFirst) this.schedule(SOON_MS)
  }

  /** How one statement of several ended. */
  result({ tag, rows }: StatementResult): void {
    const { statement } = this
    this.keep({ seq: ++this.seq, at: Date.now(), severity: 'RESULT', message: tag ?? '', rows, statement })
    this.schedule(RESULTS_AFTER_MS)
  }

  private keep(line: LogLine): void {
    this.hasNotice ||= line.severity !== 'RESULT'
    if (this.first.length < KEPT_AT_EACH_END) this.first.push(line)
    else if (this.last.push(line) >= 2 * KEPT_AT_EACH_END) this.last.splice(0, KEPT_AT_EACH_END)
  }

  /** How much was said so far. */
  get mark(): number {
    return this.seq
  }

  /** A statement failed: whether it runs again is to be known before more is sent. */
  hold(): void {
    this.cancelTimer()
  }

  /** What ran since was rolled back and runs again: what was not sent yet has not been said. */
  again(mark = 0): void {
    const kept = this.take().filter(({ seq }) => seq <= mark)
    this.seq = Math.max(mark, this.sent)
    for (const line of kept) this.keep(line)
    if (kept.length > 0) this.schedule(SOON_MS)
    if (this.sent > mark)
      this.add({ severity: 'INFO', message: 'What ran so far was rolled back, and runs again' })
  }

  /** Before a run's end is written: waits a moment until its lines are kept. Nothing to wait for without notices. */
  async settle(): Promise<void> {
    const endsAt = performance.now() + PATIENCE_MS
    while ((this.hasNotice || (this.isUnderWay && this.sent > 0)) && performance.now() < endsAt) {
      this.flush()
      await this.kept(endsAt - performance.now())
    }
  }

  /** The end of the run: the lines that were not sent, to go with the message that says so. */
  end(): { lines?: LogLine[] } {
    const lines = this.take()
    this.task = undefined
    return lines.length > 0 ? { lines } : {}
  }

  /** The supervisor has kept the batch that was under way, or never will. */
  noted(): void {
    this.isUnderWay = false
    this.onKept?.()
    if (this.first.length > 0) this.schedule(this.hasNotice ? SOON_MS : RESULTS_AFTER_MS)
  }

  private kept(withinMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, withinMs)
      this.onKept = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }

  private schedule(delayMs: number): void {
    const now = performance.now()
    const at = Math.max(now + delayMs, this.sentAt + FLOOD_EVERY_MS)
    if (!this.send || this.isUnderWay || at >= this.timerAt) return
    this.cancelTimer()
    this.timerAt = at
    this.timer = setTimeout(() => this.flush(), at - now)
  }

  private flush(): void {
    if (!this.send || this.isUnderWay || this.task === undefined) return
    const lines = this.take()
    if (lines.length === 0) return
    this.isUnderWay = true
    this.sent = this.seq
    this.sentAt = performance.now()
    this.send([{ type: 'lines', task: this.task, lines }])
  }

  private take(): LogLine[] {
    this.cancelTimer()
    const lines = [...this.first, ...this.last.slice(-KEPT_AT_EACH_END)]
    this.first = []
    this.last = []
    this.hasNotice = false
    return lines
  }

  private cancelTimer(): void {
    clearTimeout(this.timer)
    this.timerAt = Number.POSITIVE_INFINITY
  }
}

const SEVERITIES = new Set(['DEBUG', 'LOG', 'INFO', 'NOTICE', 'WARNING'])

/** In English; lc_messages may have it in another language. */
function severityOf(severity = '', code = ''): string {
  if (SEVERITIES.has(severity)) return severity
  return code.startsWith('01') ? 'WARNING' : 'NOTICE'
}

/** A copy, for a mere slice would keep the whole text in memory; it also mends a character that was cut in two. */
function shorten(text: string | undefined): string | undefined {
  if (text === undefined || text.length <= LONGEST_TEXT) return text
  const rest = (text.length - LONGEST_TEXT).toLocaleString('en')
  return `${Buffer.from(text.slice(0, LONGEST_TEXT)).toString()}… (${rest} characters more)`
}
