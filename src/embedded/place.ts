import { createHash } from 'node:crypto'
import { chmodSync, chownSync, existsSync, lstatSync, mkdirSync, realpathSync, rmSync } from 'node:fs'
import { homedir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { QueueError } from '../engine/errors.js'
import { checkReach, isRoot, type Owner, serverOwner } from './owner.js'
import { findPackage, type ProgramsPackage } from './programs.js'

/** Where one embedded server lives. Everything is below `root`, save a socket whose path would be too long. */
export interface Place {
  /** `<home>/embedded/<major>`. */
  root: string
  dataDir: string
  socketDir: string
  logFile: string
  lockDir: string
  /** The folder of the installed programs. */
  programs: string
  package: ProgramsPackage
  /** The user the server runs as, if not the caller. */
  owner: Owner | undefined
}

/** A socket address holds 104 bytes on macOS and 108 on Linux, of which PostgreSQL's file name takes 15. */
const LONGEST_SOCKET_DIR = 85

export function findPlace(home: string = defaultHome()): Place {
  const source = findPackage()
  const root = join(realPath(resolve(home)), 'embedded', source.major)
  const dataDir = join(root, 'data')
  return {
    root,
    dataDir,
    socketDir: socketDirFor(root),
    logFile: join(root, 'server.log'),
    lockDir: join(root, 'lock'),
    programs: join(root, `programs-${source.release}`),
    package: source,
    owner: serverOwner(dataDir),
  }
}

/** PGBQ_EMBEDDED_HOME, else the user's data folder; for root, whose own folder is closed, the system's. */
export function defaultHome(env: NodeJS.ProcessEnv = process.env, root: boolean = isRoot()): string {
  if (env.PGBQ_EMBEDDED_HOME) return env.PGBQ_EMBEDDED_HOME
  const mac = process.platform === 'darwin'
  if (root) return mac ? '/Library/Application Support/pgbq' : '/var/lib/pgbq'
  if (env.XDG_DATA_HOME) return join(env.XDG_DATA_HOME, 'pgbq')
  return mac ? join(homedir(), 'Library/Application Support/pgbq') : join(homedir(), '.local/share/pgbq')
}

/** The path with its links resolved, so that every spelling of a home is the same place. */
function realPath(path: string): string {
  try {
    return realpathSync(path)
  } catch {
    const parent = resolve(path, '..')
    return parent === path ? path : join(realPath(parent), path.slice(parent.length))
  }
}

/** In /tmp, as PostgreSQL itself has it, and not in TMPDIR: every caller must find the same folder. */
export function socketDirFor(root: string): string {
  const near = join(root, 'socket')
  if (Buffer.byteLength(near) <= LONGEST_SOCKET_DIR) return near
  return `/tmp/pgbq-${createHash('sha256').update(root).digest('hex').slice(0, 16)}`
}

/** Makes the folder of the place. Another user who runs the server must be able to get there. */
export function makeRoot(place: Place): void {
  if (place.owner !== undefined) checkReach(existingPart(place.root), place.owner)
  makeFolders(place)
  if (place.owner !== undefined) checkReach(place.root, place.owner)
}

function existingPart(path: string): string {
  return existsSync(path) ? path : existingPart(dirname(path))
}

function makeFolders(place: Place): void {
  const mode = place.owner === undefined ? 0o700 : 0o755
  const [home, parent] = [resolve(place.root, '../..'), resolve(place.root, '..')]
  if (mkdirSync(home, { recursive: true, mode }) !== undefined) chmodSync(home, mode)
  mkdirSync(place.root, { recursive: true, mode })
  for (const folder of [parent, place.root]) chmodSync(folder, mode) // whatever the umask
}

/** Makes a folder that only the server's user, and root, can enter. */
export function makePrivate(folder: string, owner: Owner | undefined): void {
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  if (!isOwn(folder, owner)) {
    throw new QueueError('EMBEDDED_SOCKET_TAKEN', `The folder "${folder}" belongs to another user`, {
      hint: 'name a short folder of your own: PGBQ_EMBEDDED_HOME=<folder>',
    })
  }
  chmodSync(folder, 0o700)
  if (owner !== undefined) chownSync(folder, owner.uid, owner.gid)
}

/** Removes the socket's folder with whatever a killed server left in it. */
export function removeSocketDir(place: Place): void {
  if (isOwn(place.socketDir, place.owner)) rmSync(place.socketDir, { recursive: true, force: true })
}

/** True for a real folder (no link) of the caller or of the server's user: /tmp is open to squatters. */
function isOwn(folder: string, owner: Owner | undefined): boolean {
  const facts = lstatSync(folder, { throwIfNoEntry: false })
  if (facts === undefined || !facts.isDirectory()) return false
  return facts.uid === process.getuid?.() || facts.uid === owner?.uid
}
