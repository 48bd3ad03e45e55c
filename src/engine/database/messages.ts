/** What a client sends: https://www.postgresql.org/docs/current/protocol-message-formats.html */

const PARSE = 0x50
const BIND = 0x42
const EXECUTE = 0x45
const FUNCTION_CALL = 0x46
const QUERY = 0x51
const LENGTH_BYTES = 4

/** Ends what the extended protocol began; behind an error, the server skips all that is before it. */
export const SYNC = message(0x53, [])
const EXECUTE_ALL = message(EXECUTE, [Buffer.alloc(1 + LENGTH_BYTES)])

/** One statement by the extended protocol, in which the server refuses a second one; its columns are not asked for. */
export const statement = (text: string, values: unknown[] = []): Buffer =>
  Buffer.concat([
    message(PARSE, [Buffer.from(`\0${text}\0\0\0`)]),
    message(BIND, [Buffer.alloc(2), ...asTexts(values)]),
    EXECUTE_ALL,
  ])

/** Any number of statements by the simple protocol. */
export const script = (text: string): Buffer => message(QUERY, [Buffer.from(`${text}\0`)])

/** A function by its OID, with values as text; it is neither parsed nor planned. */
export const functionCall = (oid: number, values: unknown[]): Buffer =>
  // beyond 2^31 an OID has the bits of a negative number
  message(FUNCTION_CALL, [int32(oid | 0), ...asTexts(values)])

/** Values and their result, all as text. */
function asTexts(values: unknown[]): Buffer[] {
  const parts = [int16(0), int16(values.length)]
  for (const value of values) {
    const text = asText(value)
    const bytes = text === null ? undefined : Buffer.from(text)
    parts.push(int32(bytes?.length ?? -1))
    if (bytes) parts.push(bytes)
  }
  parts.push(int16(0))
  return parts
}

/** A value as the text of its type, an array's by https://www.postgresql.org/docs/current/arrays.html#ARRAYS-IO */
export function asText(value: unknown): string | null {
  if (value === null) return null
  return Array.isArray(value) ? `{${value.map(asElement).join(',')}}` : String(value)
}

function asElement(value: unknown): string {
  if (value === null) return 'NULL'
  return typeof value === 'string' ? `"${value.replace(/["\\]/g, '\\$&')}"` : String(value)
}

function message(type: number, body: Buffer[]): Buffer {
  const bytes = Buffer.concat([Buffer.alloc(1 + LENGTH_BYTES), ...body])
  bytes[0] = type
  bytes.writeInt32BE(bytes.length - 1, 1)
  return bytes
}

function int16(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(2)
  bytes.writeInt16BE(value)
  return bytes
}

function int32(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(LENGTH_BYTES)
  bytes.writeInt32BE(value)
  return bytes
}

/**
 * The fields of a row as text, as a function that returns one gives it:
 * https://www.postgresql.org/docs/current/rowtypes.html#ROWTYPES-IO-SYNTAX
 */
export function readRow(text: string): (string | null)[] {
  const fields: (string | null)[] = []
  let at = 1
  while (at < text.length) {
    if (text[at] === '"') {
      const end = endOfQuoted(text, at + 1)
      fields.push(text.slice(at + 1, end).replace(/(["\\])\1/g, '$1'))
      at = end + 2
    } else {
      const comma = text.indexOf(',', at)
      const end = comma < 0 ? text.length - 1 : comma
      fields.push(end === at ? null : text.slice(at, end))
      at = end + 1
    }
  }
  return fields
}

/** A quote within is doubled. */
function endOfQuoted(text: string, from: number): number {
  let at = text.indexOf('"', from)
  while (text[at + 1] === '"') at = text.indexOf('"', at + 2)
  return at
}
