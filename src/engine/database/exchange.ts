import './navigator.js'
import type { Writable } from 'node:stream'
import pg from 'pg'
import { DATA_ROW, type Inbox, READY, type Reader } from './inbox.js'

/** https://www.postgresql.org/docs/current/protocol-message-formats.html */
const COMMAND_COMPLETE = 0x43
const EMPTY_QUERY = 0x49
const ERROR = 0x45
const FUNCTION_RESULT = 0x56
const LENGTH_BYTES = 4
const COUNT_BYTES = 2

/** What the server answered up to one "ready for query". */
export interface Answer {
  /** the command tags as they are, null for a text without a statement */
  tags: (string | null)[]
  /** the result of a function call as text, or the first column where the row is asked for */
  value: string | null | undefined
  error: pg.DatabaseError | undefined
}

/** What is sent in one packet, and what it is answered with. */
export interface Sending {
  messages: Buffer[]
  /** how often the server says that it is ready again */
  answers: number
  /** the same where what the first message begins fails before anything has ended */
  answersIfFirstFails?: number
  /** in which answer a row is looked at */
  rowIn?: number
}

/**
 * Messages of ours beside those of `pg`, which makes an object and an event of each message of the server: that costs
 * more than a small statement does. Here only what ends something is looked at, and of rows nothing is kept. Nothing
 * else of the session may be under way.
 */
class Exchange implements Reader {
  readonly done: Promise<Answer[]>
  private readonly answers: Answer[] = []
  private current: Answer = { tags: [], value: undefined, error: undefined }
  private readonly sending: Sending
  private readonly onError: (error: pg.DatabaseError) => void
  private succeed!: (answers: Answer[]) => void
  private reject!: (error: Error) => void

  constructor(sending: Sending, onError: (error: pg.DatabaseError) => void) {
    this.sending = sending
    this.onError = onError
    this.done = new Promise((resolve, reject) => {
      this.succeed = resolve
      this.reject = reject
    })
  }

  wants(type: number): boolean {
    return (
      type === COMMAND_COMPLETE ||
      type === READY ||
      type === FUNCTION_RESULT ||
      type === ERROR ||
      type === EMPTY_QUERY ||
      (type === DATA_ROW && this.answers.length === this.sending.rowIn)
    )
  }

  read(type: number, bytes: Buffer, at: number, end: number): boolean {
    const { current } = this
    if (type === COMMAND_COMPLETE) current.tags.push(bytes.toString('utf8', at, end - 1))
    else if (type === FUNCTION_RESULT) current.value = readValue(bytes, at)
    else if (type === DATA_ROW) current.value = readValue(bytes, at + COUNT_BYTES)
    else if (type === EMPTY_QUERY) current.tags.push(null)
    else if (type === ERROR) this.note(readError(bytes, at, end))
    else return this.end()
    return true
  }

  private note(error: pg.DatabaseError): void {
    this.current.error ??= error
    this.onError(error)
  }

  private end(): boolean {
    const { current } = this
    this.answers.push(current)
    this.current = { tags: [], value: undefined, error: undefined }
    const isFirst = this.answers.length === 1
    const hasFailed = isFirst && current.error !== undefined && current.tags.length === 0
    const count = hasFailed
      ? (this.sending.answersIfFirstFails ?? this.sending.answers)
      : this.sending.answers
    if (this.answers.length < count) return true
    this.succeed(this.answers)
    return false
  }

  /** The session is gone; a last word of the server says more than that. */
  fail(error: Error): void {
    this.reject(this.current.error ?? error)
  }
}

/** Sends messages while nothing else is under way. Errors of the server are in the answers; throws when the session ends. */
export function exchange(
  client: pg.Client,
  inbox: Inbox,
  sending: Sending,
  onError: (error: pg.DatabaseError) => void,
): Promise<Answer[]> {
  const running = new Exchange(sending, onError)
  const { stream } = (client as unknown as { connection: { stream: Writable } }).connection
  inbox.answerTo(running)
  if (stream.destroyed) running.fail(new Error('Connection terminated unexpectedly'))
  else stream.write(Buffer.concat(sending.messages))
  return running.done
}

function readValue(bytes: Buffer, at: number): string | null {
  const length = bytes.readInt32BE(at)
  return length < 0 ? null : bytes.toString('utf8', at + LENGTH_BYTES, at + LENGTH_BYTES + length)
}

/** The fields of an error by their letters: https://www.postgresql.org/docs/current/protocol-error-fields.html */
const FIELDS: Record<string, keyof pg.DatabaseError> = {
  S: 'severity',
  C: 'code',
  M: 'message',
  D: 'detail',
  H: 'hint',
  P: 'position',
  p: 'internalPosition',
  q: 'internalQuery',
  W: 'where',
  s: 'schema',
  t: 'table',
  c: 'column',
  d: 'dataType',
  n: 'constraint',
  F: 'file',
  L: 'line',
  R: 'routine',
}

function readError(bytes: Buffer, from: number, end: number): pg.DatabaseError {
  const error = new pg.DatabaseError('', end - from, 'error')
  for (let at = from; bytes[at] !== 0; ) {
    const zero = bytes.indexOf(0, at)
    const name = FIELDS[String.fromCharCode(bytes[at]!)]
    if (name) Object.assign(error, { [name]: bytes.toString('utf8', at + 1, zero) })
    at = zero + 1
  }
  return error
}
