import { readFileSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { QueueError } from '../engine/errors.js'
import { type Place, removeSocketDir } from './place.js'
import { findProcess } from './process-table.js'

/** What the server's pid file says; it can be older than the last crash. */
export interface Postmaster {
  pid: number
  socketDir: string
  isReady: boolean
}

export const PORT = 5432
/** A crash's write-ahead log is replayed before a server is ready. */
export const START_LIMIT_MS = 60_000
const STOP_LIMIT_MS = 30_000
const ANSWER_LIMIT_MS = 10_000
/** Any server answers it with one byte: https://www.postgresql.org/docs/current/protocol-message-formats.html */
const SSL_REQUEST = Buffer.from([0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f])

/** Lines of postmaster.pid: 1 pid, 5 socket folder, 8 state (src/include/utils/pidfile.h of PostgreSQL). */
export function readPidFile(dataDir: string): Postmaster | undefined {
  try {
    const lines = readFileSync(pidFile(dataDir), 'utf8').split('\n')
    const pid = Number.parseInt(lines[0] ?? '', 10)
    if (!(pid > 0)) return undefined
    return { pid, socketDir: lines[4] ?? '', isReady: lines[7]?.trim() === 'ready' }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

function pidFile(dataDir: string): string {
  return join(dataDir, 'postmaster.pid')
}

/** True while the pid is this server's, not that of a process that got its number after a crash or reboot. */
export function isServerProcess(place: Place, pid: number): boolean {
  return findProcess(pid)?.command.includes(` -D ${place.dataDir} `) ?? false
}

/** The server that takes connections now. The socket is the proof, the pid file only a claim. */
export async function findRunning(place: Place): Promise<Postmaster | undefined> {
  const found = readPidFile(place.dataDir)
  return found?.isReady && (await answers(found.socketDir)) ? found : undefined
}

/**
 * Only an answer is the proof: what a server forked just before it was killed holds its socket for a moment longer.
 * EAGAIN (the queue of waiting connections is full) and silence mean one that is busy or stopped.
 */
function answers(socketDir: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(join(socketDir, `.s.PGSQL.${PORT}`))
    const end = (isThere: boolean) => {
      socket.destroy()
      resolve(isThere)
    }
    socket.once('connect', () => socket.write(SSL_REQUEST))
    socket.once('data', () => end(true))
    socket.once('error', (error: NodeJS.ErrnoException) => end(error.code === 'EAGAIN'))
    socket.once('close', () => end(false))
    socket.setTimeout(ANSWER_LIMIT_MS, () => end(true))
  })
}

/** Waits for a server that is starting or stopping: until it is ready, gone (undefined), or time is up. */
export async function settle(place: Place): Promise<Postmaster | undefined> {
  const deadline = Date.now() + START_LIMIT_MS
  while (Date.now() < deadline) {
    const running = await findRunning(place)
    if (running !== undefined) return running
    const found = readPidFile(place.dataDir)
    if (found === undefined || !isServerProcess(place, found.pid)) return undefined
    await sleep(20)
  }
  throw new QueueError(
    'EMBEDDED_START_TIMEOUT',
    `The embedded PostgreSQL is not ready after ${START_LIMIT_MS / 1000} s; it may still be recovering`,
    { hint: `see what it does: tail ${place.logFile}` },
  )
}

/**
 * Asks the server to end (fast: open transactions are rolled back), then forces it (immediate), and removes
 * what a killed one left. True if one was running.
 */
export async function endServer(place: Place): Promise<boolean> {
  const found = readPidFile(place.dataDir)
  const wasRunning = found !== undefined && isServerProcess(place, found.pid)
  if (wasRunning) await endProcess(place, found.pid)
  else if (found !== undefined && (await answers(found.socketDir))) throw outOfReach(place, found.pid)
  clearTraces(place)
  return wasRunning
}

async function endProcess(place: Place, pid: number): Promise<void> {
  for (const signal of ['SIGINT', 'SIGQUIT'] as const) {
    sendSignal(pid, signal)
    if (await isGone(place, pid)) return
  }
  throw new QueueError('EMBEDDED_STOP_TIMEOUT', `The embedded PostgreSQL (pid ${pid}) does not end`, {
    hint: `kill -9 ${pid}`,
  })
}

function sendSignal(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

async function isGone(place: Place, pid: number): Promise<boolean> {
  const deadline = Date.now() + STOP_LIMIT_MS
  while (isServerProcess(place, pid)) {
    if (Date.now() > deadline) return false
    await sleep(20)
  }
  return true
}

/**
 * A server refuses to start while the pid in its file lives, be it a zombie or a stranger with that number, so
 * the file goes once the process is known not to be the server. Sessions of a killed server that still run
 * are found without it: the key of the shared memory follows from the data folder (PostgreSQL 12 and later).
 */
export function clearTraces(place: Place): void {
  const found = readPidFile(place.dataDir)
  if (found !== undefined && isServerProcess(place, found.pid)) return
  rmSync(pidFile(place.dataDir), { force: true })
  removeSocketDir(place)
}

function outOfReach(place: Place, pid: number): QueueError {
  const message = `The server on "${place.dataDir}" runs as pid ${pid} out of sight of this process`
  return new QueueError('EMBEDDED_OUT_OF_REACH', message, {
    hint: 'stop it from the container or session that started it',
  })
}
