import { isUtf8 } from 'node:buffer'
import { createReadStream } from 'node:fs'

export interface Line {
  number: number
  /** undefined where it is not valid UTF-8 */
  text: string | undefined
}

const BYTE_ORDER_MARK = '\ufeff'

/**
 * The lines of a file, as many at once as one read has ended; ended by LF or CRLF alone (JSON and SQL may hold the other
 * ends that readline knows); a byte order mark at the beginning is left out. Errors: those of the file system.
 */
export async function* readLines(path: string): AsyncGenerator<Line[]> {
  let number = 0
  let pieces: Buffer[] = []
  for await (const chunk of createReadStream(path) as AsyncIterable<Buffer>) {
    const lines: Line[] = []
    let from = 0
    for (let end = chunk.indexOf(10); end !== -1; end = chunk.indexOf(10, from)) {
      pieces.push(chunk.subarray(from, end))
      lines.push(toLine(pieces, ++number))
      pieces = []
      from = end + 1
    }
    pieces.push(chunk.subarray(from))
    yield lines
  }
  yield [toLine(pieces, ++number)]
}

function toLine(pieces: Buffer[], number: number): Line {
  const bytes = pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces)
  if (!isUtf8(bytes)) return { number, text: undefined }
  const text = bytes.toString('utf8').replace(/\r$/, '')
  return { number, text: number === 1 && text.startsWith(BYTE_ORDER_MARK) ? text.slice(1) : text }
}
