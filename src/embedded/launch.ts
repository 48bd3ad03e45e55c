import { closeSync, openSync, readFileSync, statSync, truncateSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { QueueError } from '../engine/errors.js'
import { lastLines } from './cluster.js'
import { makePrivate, type Place } from './place.js'
import { clearTraces, PORT, type Postmaster, settle } from './postmaster.js'
import { cannotRun, spawnProgram } from './run-program.js'

const LOG_LIMIT_BYTES = 10 * 1024 * 1024
const REFUSED_LIMIT_MS = 15_000
/** What a server says while sessions of a killed one have not ended. */
const STILL_IN_USE = /pre-existing shared memory block|lock file "postmaster\.pid" already exists/

/**
 * Starts the server and waits until it takes connections. Sessions of a killed server keep its shared memory
 * until they notice its death: refusals for that reason are retried for some seconds.
 */
export async function launch(
  place: Place,
  settings: Record<string, string>,
  wrapper: string[] = [],
): Promise<Postmaster> {
  boundLog(place.logFile)
  const deadline = Date.now() + REFUSED_LIMIT_MS
  for (;;) {
    const logStart = statSync(place.logFile, { throwIfNoEntry: false })?.size ?? 0
    const ready = await tryLaunch(place, settings, wrapper)
    if (ready !== undefined) return ready
    const said = readFileSync(place.logFile).subarray(logStart).toString()
    if (!STILL_IN_USE.test(said) || Date.now() > deadline) throw startFailed(place, said)
    await sleep(250)
  }
}

async function tryLaunch(
  place: Place,
  settings: Record<string, string>,
  wrapper: string[],
): Promise<Postmaster | undefined> {
  clearTraces(place)
  makePrivate(place.socketDir, place.owner)
  const ended = spawnServer(place, settings, wrapper)
  for (;;) {
    const ready = await settle(place)
    if (ready !== undefined) return ready
    const hasEnded = await Promise.race([ended, sleep(20, false)])
    if (hasEnded) return settle(place)
  }
}

/**
 * In a session of its own, with nothing of the caller's terminal. The log is opened here, so that a server of
 * another user needs no rights on its folder. Resolves true when the process ends; rejects if it never began.
 */
function spawnServer(place: Place, settings: Record<string, string>, wrapper: string[]): Promise<boolean> {
  const log = openSync(place.logFile, 'a', 0o600)
  const args = ['-D', place.dataDir, ...serverSettings(place, settings)]
  const server = spawnProgram(
    place,
    'postgres',
    args,
    { detached: true, stdio: ['ignore', log, log] },
    wrapper,
  )
  closeSync(log)
  server.unref()
  return new Promise((resolve, reject) => {
    server.once('error', (error) => reject(cannotRun(server, error)))
    server.once('exit', () => resolve(true))
  })
}

/** Only what must hold: everything else is in postgresql.conf, where ALTER SYSTEM can change it. */
function serverSettings(place: Place, settings: Record<string, string>): string[] {
  const all = {
    listen_addresses: '',
    port: String(PORT),
    unix_socket_directories: `"${place.socketDir.replaceAll('"', '""')}"`,
    unix_socket_permissions: '0700',
    fsync: 'on',
    ...settings,
  }
  return Object.entries(all).flatMap(([name, value]) => ['-c', `${name}=${value}`])
}

function boundLog(file: string): void {
  const size = statSync(file, { throwIfNoEntry: false })?.size ?? 0
  if (size > LOG_LIMIT_BYTES) truncateSync(file)
}

function startFailed(place: Place, said: string): QueueError {
  return new QueueError(
    'EMBEDDED_START_FAILED',
    `The embedded PostgreSQL did not start: ${lastLines(said)}`,
    {
      hint: `see its log: ${place.logFile}`,
    },
  )
}
