import { QueueError } from '../errors.js'
import type { CallerConnection, CallerQuery } from './caller-connection.js'
import type { Row } from './database.js'
import { translateError } from './errors.js'
import { isoInstant } from './instant.js'
import type { Session } from './session.js'

const PARSERS: Record<number, (text: string) => unknown> = {
  16: (text) => text === 't',
  20: BigInt,
  21: Number,
  23: Number,
  26: Number,
  701: Number,
  1184: isoInstant,
}

/** What the application has told its `pg` to make of types is not ours to know. */
const types: CallerQuery['types'] = { getTypeParser: (oid) => PARSERS[oid] ?? ((text) => text) }

/** The caller's connection as a session of ours; what is no rule of the queue is thrown as `pg` threw it. */
export function callerSession(connection: CallerConnection): Session {
  const query = async <T extends Row>(text: string, values: unknown[] = []): Promise<T[]> => {
    try {
      return (await connection.query({ text, values, types })).rows as T[]
    } catch (error) {
      throw translateError(error, describe(connection))
    }
  }
  const one = async <T extends Row>(text: string, values?: unknown[]): Promise<T> => {
    const [row] = await query<T>(text, values)
    if (row === undefined) throw new QueueError('INTERNAL', 'The queue answered nothing')
    return row
  }
  return { query, one }
}

function describe(connection: CallerConnection): string {
  const { database } = connection as { database?: unknown }
  return typeof database === 'string' ? `database "${database}"` : 'the database of this connection'
}
