import { statSync } from 'node:fs'
import type { Database } from './database/database.js'
import { QueueError } from './errors.js'
import { badLine, type LineDefaults, type LineTask, readBatches } from './file-tasks.js'
import { enqueue, enqueueMany, type ManyIds } from './task-store.js'

const BATCH = 5000

/**
 * Adds every line of a file as one task, in one transaction; blank lines are left out. A .jsonl line is
 * {sql, topic, priority, run_at, …}, any other a whole statement. Errors: FILE_MISSING, FILE_UNREADABLE, BAD_LINE with
 * the line's number.
 */
export async function enqueueFile(
  database: Database,
  path: string,
  defaults: LineDefaults,
  onProgress: (count: number) => void,
): Promise<ManyIds> {
  requireFile(path)
  const total: ManyIds = { first: null, last: null, count: 0n }
  let sent: Promise<void> | undefined
  const send = async (batch: LineTask[]): Promise<void> => {
    const { first, last, count } = await enqueueBatch(database, batch)
    total.first ??= first
    total.last = last ?? total.last
    total.count += count
    onProgress(Number(total.count))
  }
  try {
    return await database.transaction(async () => {
      try {
        for await (const batch of readBatches(path, BATCH, defaults)) {
          // the server has the last batch while the next one is read
          await sent
          sent = send(batch)
          sent.catch(() => undefined)
        }
      } finally {
        // what is wrong in an earlier line is told first
        await sent
      }
      return total
    })
  } catch (error) {
    if (error instanceof RefusedBatch) throw await findBadLine(database, error, path)
    throw error
  }
}

function requireFile(path: string): void {
  const facts = statSync(path, { throwIfNoEntry: false })
  if (facts === undefined) throw new QueueError('FILE_MISSING', `The file "${path}" does not exist`)
  if (facts.isDirectory()) throw new QueueError('FILE_MISSING', `"${path}" is a folder, not a file`)
}

/** Some value of the batch is one that only the server can judge, and did not like. */
class RefusedBatch extends Error {
  constructor(
    readonly batch: LineTask[],
    override readonly cause: unknown,
  ) {
    super('A value of the batch was refused')
  }
}

function enqueueBatch(database: Database, batch: LineTask[]): Promise<ManyIds> {
  return enqueueMany(database, batch).catch((error: unknown) => {
    throw isAboutValues(error) ? new RefusedBatch(batch, error) : error
  })
}

/** Tried line by line, and taken back, once nothing of the file is left. */
async function findBadLine(
  database: Database,
  { batch, cause }: RefusedBatch,
  path: string,
): Promise<unknown> {
  const found = new Error('The line was found')
  let bad: unknown = cause
  await database
    .transaction(async () => {
      for (const task of batch) {
        await enqueue(database, task).catch((error: Error & { hint?: string }) => {
          bad = badLine(path, task.line, error.message, error.hint)
          throw found
        })
      }
      throw found
    })
    .catch((error: unknown) => {
      if (error !== found) throw error
    })
  return bad
}

/** A rule of ours, or the server's classes 22 (data) and 23 (constraints). */
function isAboutValues(error: unknown): boolean {
  if (error instanceof QueueError) return error.usage
  return /^2[23]/.test((error as { code?: string }).code ?? '')
}
