import type { Socket } from 'node:net'
import type pg from 'pg'
import { isDiscarding } from './statement.js'

/** https://www.postgresql.org/docs/current/protocol-message-formats.html */
const HEADER_BYTES = 5
export const DATA_ROW = 0x44
const COPY_DATA = 0x64
const NOTICE = 0x4e
const SETTING = 0x53
const NOTIFICATION = 0x41
export const READY = 0x5a

/** A row beyond this size is dropped while rows are, a notice always. */
const LARGE_BYTES = new Map([
  [DATA_ROW, 65_536],
  [COPY_DATA, 65_536],
  [NOTICE, 16_777_216],
])
/** What the server may say beside its answers. */
const BESIDE = new Set([NOTICE, SETTING, NOTIFICATION])

/** Whoever waits for answers that `pg` knows nothing of. */
export interface Reader {
  /** whether a message of this type is to be read; what is not is dropped */
  wants(type: number): boolean
  /** `bytes` from `at` to `end` are the message's body. Returns false when the last answer was read. */
  read(type: number, bytes: Buffer, at: number, end: number): boolean
  fail(error: Error): void
}

/**
 * Cuts what the server sends into messages: for `pg`, or for a reader. It keeps large rows of a task's result away
 * from `pg`, which would put each together in memory, and fails at a value of 512 MB: so the memory of a worker is
 * flat, however large one row is. Nor does a notice beyond 16 MB reach it.
 */
export class Inbox {
  private readonly pass: (bytes: Buffer) => void
  private readonly isDiscarding: () => boolean
  private reader: Reader | undefined
  /** bytes of the current message that are yet to come */
  private remaining = 0
  private isDropping = false
  /** the beginning of a message that is in several packets, and how many bytes are to be had before it is looked at */
  private held: Buffer[] = []
  private heldBytes = 0
  private neededBytes = 0

  constructor(pass: (bytes: Buffer) => void, isDiscarding: () => boolean) {
    this.pass = pass
    this.isDiscarding = isDiscarding
  }

  /** Takes over what a client receives. To be called on an open connection. */
  static of(client: pg.Client): Inbox {
    const { stream } = (client as unknown as { connection: { stream: Socket } }).connection
    const [parse] = stream.listeners('data') as [(bytes: Buffer) => void]
    const inbox = new Inbox(parse, () => isDiscarding(client))
    stream.removeListener('data', parse)
    stream.on('data', (bytes: Buffer) => inbox.take(bytes))
    const fail = (error = new Error('Connection terminated unexpectedly')): void => inbox.reader?.fail(error)
    client.on('error', fail)
    client.on('end', () => fail())
    return inbox
  }

  /** The next answers are this reader's, up to the one after which it wants no more. */
  answerTo(reader: Reader): void {
    this.reader = reader
  }

  take(packet: Buffer): void {
    if (this.heldBytes + packet.length < this.neededBytes) {
      this.hold(packet, this.neededBytes)
      return
    }
    const bytes = this.heldBytes > 0 ? Buffer.concat([...this.held, packet]) : packet
    this.held = []
    this.heldBytes = 0
    this.neededBytes = 0
    /** what is behind `from` and before `at` is to be passed on in one piece */
    let from = 0
    let at = 0
    while (at < bytes.length) {
      if (this.remaining === 0) {
        const left = bytes.length - at
        const length = left < HEADER_BYTES ? HEADER_BYTES : bytes.readInt32BE(at + 1) + 1
        const type = bytes[at]!
        const { reader } = this
        const isRead = reader !== undefined && left >= HEADER_BYTES && reader.wants(type)
        if (left < (isRead ? length : HEADER_BYTES)) {
          this.hold(Buffer.from(bytes.subarray(at)), length)
          break
        }
        const isLarge = length > (LARGE_BYTES.get(type) ?? Number.POSITIVE_INFINITY)
        if (isRead || isLarge || (reader && !BESIDE.has(type))) {
          // what comes before tells `pg` whose row this is
          if (at > from) this.pass(bytes.subarray(from, at))
          from = at
          this.isDropping = reader !== undefined || type === NOTICE || this.isDiscarding()
        }
        if (isRead && !reader.read(type, bytes, at + HEADER_BYTES, at + length)) {
          // with the last answer `pg` learns of the state that the session is in
          this.reader = undefined
          this.isDropping = type !== READY
        }
        this.remaining = length
      }
      const step = Math.min(this.remaining, bytes.length - at)
      this.remaining -= step
      at += step
      if (this.isDropping) from = at
      if (this.remaining === 0) this.isDropping = false
    }
    if (at > from) this.pass(bytes.subarray(from, at))
  }

  private hold(bytes: Buffer, neededBytes: number): void {
    this.held.push(bytes)
    this.heldBytes += bytes.length
    this.neededBytes = neededBytes
  }
}
