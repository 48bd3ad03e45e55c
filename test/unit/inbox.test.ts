import { expect, test } from 'vitest'
import { Inbox } from '../../src/engine/database/inbox.js'

function message(type: string, length: number): Buffer {
  const bytes = Buffer.alloc(length + 5, type)
  bytes.writeInt32BE(length + 4, 1)
  return bytes
}

const LARGE = 200_000
const stream = Buffer.concat([
  message('T', 30),
  message('D', 10),
  message('D', LARGE),
  message('D', 20),
  message('d', LARGE),
  message('D', LARGE),
  message('C', 9),
  message('E', LARGE),
  message('Z', 1),
])

function filtered(packetSize: number, isDiscarding: boolean): Buffer {
  const passed: Buffer[] = []
  const filter = new Inbox(
    (bytes) => passed.push(bytes),
    () => isDiscarding,
  )
  for (let at = 0; at < stream.length; at += packetSize) filter.take(stream.subarray(at, at + packetSize))
  return Buffer.concat(passed)
}

test.each([1, 2, 3, 7, 64, 4096, 65_536, stream.length])(
  'drops large rows and nothing else, from packets of %i bytes',
  (size) => {
    const expected = [
      message('T', 30),
      message('D', 10),
      message('D', 20),
      message('C', 9),
      message('E', LARGE),
      message('Z', 1),
    ]
    expect(filtered(size, true).equals(Buffer.concat(expected))).toBe(true)
  },
)

test.each([1, 4096, stream.length])(
  'passes everything on while nothing is discarded, in packets of %i bytes',
  (size) => {
    expect(filtered(size, false).equals(stream)).toBe(true)
  },
)

test.each([true, false])(
  'drops a notice of more than 16 MB, also while it discards (%s) no rows',
  (isDiscarding) => {
    const passed: Buffer[] = []
    const filter = new Inbox(
      (bytes) => passed.push(bytes),
      () => isDiscarding,
    )
    const [before, after] = [message('N', LARGE), message('C', 9)]
    filter.take(Buffer.concat([before, message('N', 17_000_000), after]))
    expect(Buffer.concat(passed).equals(Buffer.concat([before, after]))).toBe(true)
  },
)
