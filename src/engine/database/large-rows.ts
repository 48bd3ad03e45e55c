import type { Socket } from 'node:net'
import type pg from 'pg'
import { isDiscarding } from './statement.js'

/** DataRow, CopyData and NoticeResponse: https://www.postgresql.org/docs/current/protocol-message-formats.html */
const NOTICE = 0x4e
const LARGE_BYTES = new Map([
  [0x44, 65_536],
  [0x64, 65_536],
  [NOTICE, 16_777_216],
])
const HEADER_BYTES = 5

/**
 * Keeps large rows of a task's result away from `pg`, which would put each together in memory, and fails at a value
 * of 512 MB: so the memory of a worker is flat, however large one row is. Nor does a notice beyond 16 MB reach it. To
 * be called on an open connection.
 */
export function dropLargeRows(client: pg.Client): void {
  const { stream } = (client as unknown as { connection: { stream: Socket } }).connection
  const [parse] = stream.listeners('data') as [(bytes: Buffer) => void]
  stream.removeListener('data', parse)
  const filter = new RowFilter(parse, () => isDiscarding(client))
  stream.on('data', (bytes: Buffer) => filter.take(bytes))
}

/** Passes on the messages of a byte stream, but huge notices, and the rows that are large while `isDiscarding`. */
export class RowFilter {
  private readonly pass: (bytes: Buffer) => void
  private readonly isDiscarding: () => boolean
  /** bytes of the current message that are yet to come */
  private remaining = 0
  private isDropping = false
  /** the beginning of a header that is in two packets */
  private held: Buffer = Buffer.alloc(0)

  constructor(pass: (bytes: Buffer) => void, isDiscarding: () => boolean) {
    this.pass = pass
    this.isDiscarding = isDiscarding
  }

  take(packet: Buffer): void {
    const bytes = this.held.length > 0 ? Buffer.concat([this.held, packet]) : packet
    this.held = bytes.subarray(bytes.length)
    /** what is behind `from` and before `at` is to be passed on in one piece */
    let from = 0
    let at = 0
    while (at < bytes.length) {
      if (this.remaining === 0) {
        if (bytes.length - at < HEADER_BYTES) break
        const length = bytes.readInt32BE(at + 1) + 1
        if (length > (LARGE_BYTES.get(bytes[at]!) ?? Number.POSITIVE_INFINITY)) {
          // what comes before tells `pg` whose row this is
          if (at > from) this.pass(bytes.subarray(from, at))
          from = at
          this.isDropping = bytes[at] === NOTICE || this.isDiscarding()
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
    this.held = Buffer.from(bytes.subarray(at))
  }
}
