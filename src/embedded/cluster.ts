import { existsSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { QueueError } from '../engine/errors.js'
import { makePrivate, type Place } from './place.js'
import { runProgram } from './run-program.js'

/** The superuser and the database of the embedded server. */
export const DATABASE = 'pgbq'

const INITDB = [
  `--username=${DATABASE}`,
  '--auth=trust', // the socket's folder is the guard: only the server's user and root can enter it
  '--encoding=UTF8',
  '--locale=C',
  '--locale-provider=builtin',
  '--builtin-locale=C.UTF-8',
  '--no-sync',
  '--no-instructions',
  ...['-c', 'shared_buffers=64MB', '-c', 'max_connections=100'],
]

/**
 * Makes the data folder, complete or not at all: in a folder of another name, renamed at the end. What a
 * killed starter left half done is never taken for data.
 */
export async function createCluster(place: Place): Promise<void> {
  if (existsSync(place.dataDir)) return
  const draft = scratch(place)
  makePrivate(draft, place.owner)
  check(place, 'initdb', await runProgram(place, 'initdb', ['-D', draft, ...INITDB]))
  await createDatabase(place, draft)
  try {
    renameSync(draft, place.dataDir)
  } catch (error) {
    if (!existsSync(place.dataDir)) throw error
  }
}

/** In single-user mode, where an error does not end the program and leaves its exit code 0. */
async function createDatabase(place: Place, dataDir: string): Promise<void> {
  const args = ['--single', '-F', '-D', dataDir, 'postgres']
  const { code, output } = await runProgram(place, 'postgres', args, `create database ${DATABASE}\n`)
  const failed = /\b(ERROR|FATAL|PANIC):/.test(output)
  check(place, 'postgres --single', { code: failed ? 1 : code, output })
}

function check(place: Place, what: string, result: { code: number | null; output: string }): void {
  if (result.code === 0) return
  const evidence = lastLines(result.output)
  throw new QueueError(
    'EMBEDDED_INIT_FAILED',
    `${what} ended with ${result.code ?? 'a signal'} in "${place.root}": ${evidence}`,
    { hint: 'see that the folder can be written and its disk is not full, or set PGBQ_EMBEDDED_HOME' },
  )
}

/** The last lines of a program's output that say something, as one text. */
export function lastLines(output: string, count = 5): string {
  const lines = output.split('\n').filter((line) => line.trim() !== '')
  return lines.slice(-count).join('\n') || 'it said nothing'
}

/** A name for work in progress, beside what it will become. */
export function scratch(place: Place): string {
  return join(place.root, `scratch-${process.pid}-${Math.random().toString(36).slice(2)}`)
}

/** Removes what killed starters left, and programs of other releases. Only under the lock, with no server up. */
export function sweep(place: Place): void {
  for (const name of readdirSync(place.root)) {
    const path = join(place.root, name)
    const stale = name.startsWith('scratch-') || (name.startsWith('programs-') && path !== place.programs)
    if (stale) removeTree(path)
  }
}

/** An initdb whose starter was killed may still be writing there: what is left now goes the next time. */
function removeTree(path: string): void {
  try {
    rmSync(path, { recursive: true, force: true, maxRetries: 3 })
  } catch {}
}
