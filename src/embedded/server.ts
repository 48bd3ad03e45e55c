import { existsSync, rmSync } from 'node:fs'
import { QueueError } from '../engine/errors.js'
import { createCluster, DATABASE, scratch, sweep } from './cluster.js'
import { launch } from './launch.js'
import { withLock } from './lock.js'
import { findPlace, makeRoot, type Place } from './place.js'
import { endServer, findRunning, PORT, type Postmaster, settle } from './postmaster.js'
import { installPrograms } from './programs.js'

/**
 * The embedded PostgreSQL: a real server from an npm package, one per home and major version, on a private
 * unix socket. It is started on demand, belongs to nobody who started it, and runs until it is stopped.
 * Starting and stopping are serialised between processes by a lock; to attach needs none.
 */
export interface EmbeddedServer {
  /** For libpq and for the npm package pg. */
  url: string
  dataDir: string
  socketDir: string
  pid: number
  /** Of the installed programs, such as `18.4`. */
  version: string
  /** True if this call started it. */
  started: boolean
}

export interface EmbeddedStatus {
  running: boolean
  /** whether there is data */
  exists: boolean
  url: string | null
  dataDir: string
  pid: number | null
  version: string
}

export interface EmbeddedOptions {
  /** The data home; else PGBQ_EMBEDDED_HOME, else the user's data folder. */
  home?: string | undefined
}

export interface StartOptions extends EmbeddedOptions {
  onProgress?: ((message: string) => void) | undefined
  /** Server settings for the command line; they count only if this call starts the server. */
  settings?: Record<string, string> | undefined
  /** A command in front of the server's own, run as the caller: a way into a network namespace, say. */
  wrapper?: string[] | undefined
}

/**
 * The running server; started, and its data folder made, if need be. Errors: EMBEDDED_UNAVAILABLE,
 * EMBEDDED_HOME, EMBEDDED_HOME_UNREADABLE, EMBEDDED_NO_USER, EMBEDDED_SOCKET_TAKEN, EMBEDDED_INIT_FAILED,
 * EMBEDDED_START_FAILED, EMBEDDED_START_TIMEOUT, EMBEDDED_BUSY.
 */
export function startEmbedded(options: StartOptions = {}): Promise<EmbeddedServer> {
  return atPlace(options, async (place) => {
    const running = await findRunning(place)
    if (running !== undefined) return describe(place, running, false)
    const report = options.onProgress ?? (() => {})
    makeRoot(place)
    const onWait = () => report('Waiting for another process that starts or stops PostgreSQL')
    return withLock(place.lockDir, onWait, () => startLocked(place, report, options))
  })
}

async function startLocked(
  place: Place,
  report: (message: string) => void,
  { settings = {}, wrapper = [] }: StartOptions,
): Promise<EmbeddedServer> {
  const running = await settle(place)
  if (running !== undefined) return describe(place, running, false)
  makeRoot(place) // a destroy may have come first
  sweep(place)
  if (!existsSync(place.programs)) report(`Unpacking PostgreSQL ${place.package.version}`)
  installPrograms(place.package, place.programs, scratch(place), place.owner !== undefined)
  if (!existsSync(place.dataDir)) report(`Creating the data folder "${place.dataDir}"`)
  await createCluster(place)
  report(`Starting PostgreSQL ${place.package.version}`)
  return describe(place, await launch(place, settings, wrapper), true)
}

/** Stops the server, open transactions rolled back, and leaves no process, socket or pid file. Data stays. */
export function stopEmbedded(options: EmbeddedOptions = {}): Promise<{ stopped: boolean }> {
  return atPlace(options, (place) => locked(place, async () => ({ stopped: await endServer(place) })))
}

/** What is there, without a change to it. */
export function embeddedStatus(options: EmbeddedOptions = {}): Promise<EmbeddedStatus> {
  return atPlace(options, async (place) => {
    const running = await findRunning(place)
    return {
      running: running !== undefined,
      exists: existsSync(place.dataDir),
      url: running === undefined ? null : urlOf(running.socketDir),
      dataDir: place.dataDir,
      pid: running?.pid ?? null,
      version: place.package.version,
    }
  })
}

/** Stops the server and deletes its data, its log and its programs. */
export function destroyEmbedded(options: EmbeddedOptions = {}): Promise<void> {
  return atPlace(options, (place) =>
    locked(place, async () => {
      await endServer(place)
      rmSync(place.root, { recursive: true, force: true, maxRetries: 3 })
    }),
  )
}

function locked<T>(place: Place, action: () => Promise<T>): Promise<T> {
  return existsSync(place.root) ? withLock(place.lockDir, () => {}, action) : action()
}

/** Finds the place and words the errors of the file system. */
async function atPlace<T>(options: EmbeddedOptions, action: (place: Place) => Promise<T>): Promise<T> {
  const place = findPlace(options.home)
  try {
    return await action(place)
  } catch (error) {
    throw fileError(place, error as NodeJS.ErrnoException)
  }
}

function fileError(place: Place, error: NodeJS.ErrnoException): Error {
  if (!['EACCES', 'EPERM', 'EROFS', 'ENOSPC', 'ENOTDIR', 'EEXIST'].includes(error.code ?? '')) return error
  return new QueueError(
    'EMBEDDED_HOME',
    `"${place.root}" cannot hold the embedded PostgreSQL: ${error.message}`,
    {
      hint: 'name a folder of your own: PGBQ_EMBEDDED_HOME=<folder>',
      cause: error,
    },
  )
}

function describe(place: Place, server: Postmaster, started: boolean): EmbeddedServer {
  return {
    url: urlOf(server.socketDir),
    dataDir: place.dataDir,
    socketDir: server.socketDir,
    pid: server.pid,
    version: place.package.version,
    started,
  }
}

function urlOf(socketDir: string): string {
  return `postgresql://${DATABASE}@/${DATABASE}?host=${encodeURIComponent(socketDir)}&port=${PORT}`
}
