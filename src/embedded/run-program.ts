import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import type { Place } from './place.js'
import { unavailable } from './programs.js'

/**
 * Starts one of PostgreSQL's programs as the server's user, away from the caller's PG* variables and folder. A
 * wrapper, a command in front of it, has to become that user itself.
 */
export function spawnProgram(
  place: Place,
  name: 'initdb' | 'postgres',
  args: string[],
  options: SpawnOptions,
  wrapper: string[] = [],
): ChildProcess {
  const isOwnersAlready = place.owner === undefined || wrapper.length > 0
  const user = isOwnersAlready ? {} : { uid: place.owner!.uid, gid: place.owner!.gid }
  const [file, ...before] = [...wrapper, join(place.programs, 'bin', name)]
  return spawn(file!, [...before, ...args], { ...options, ...user, cwd: '/', env: cleanEnvironment() })
}

/** PGPORT, PGOPTIONS and their like are meant for clients, but a server reads some of them too. */
function cleanEnvironment(): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(([key]) => !/^(PG|LC_|LANG)/.test(key))
  return { ...Object.fromEntries(kept), LC_ALL: 'C' }
}

/** Runs a program to its end. EMBEDDED_UNAVAILABLE if the system cannot run it (another libc, noexec). */
export async function runProgram(
  place: Place,
  name: 'initdb' | 'postgres',
  args: string[],
  input = '',
): Promise<{ code: number | null; output: string }> {
  const child = spawnProgram(place, name, args, { stdio: 'pipe' })
  const ended = new Promise<number | null>((resolve, reject) => {
    child.on('error', (error) => reject(cannotRun(child, error)))
    child.on('close', resolve)
  })
  child.stdin?.on('error', () => {}) // it may end before it has read its input
  child.stdin?.end(input)
  const [code, out, err] = await Promise.all([ended, text(child.stdout!), text(child.stderr!)])
  return { code, output: out + err }
}

export function cannotRun(child: ChildProcess, error: Error): Error {
  return unavailable(`The server's program "${child.spawnfile}" cannot be run here: ${error.message}`, error)
}
