import type { Database } from './database.js'

/** What asks the queue: a session of ours, or a caller's own connection. */
export type Session = Pick<Database, 'query' | 'one'>
