import { type SpawnSyncReturns, spawnSync } from 'node:child_process'
import { readFileSync, statSync } from 'node:fs'
import { dirname } from 'node:path'
import { QueueError } from '../engine/errors.js'

/** The user a server runs as where it is not the caller: PostgreSQL refuses to run as root. */
export interface Owner {
  uid: number
  gid: number
  name: string
}

export function isRoot(): boolean {
  return process.getuid?.() === 0
}

/**
 * Undefined for a caller who is not root: the server is then the caller's own. For root, whoever owns the data
 * already (a user "postgres" may have come later), else "postgres", else "nobody".
 */
export function serverOwner(dataDir: string): Owner | undefined {
  if (!isRoot()) return undefined
  const data = statSync(dataDir, { throwIfNoEntry: false })
  if (data !== undefined && data.uid !== 0) return { uid: data.uid, gid: data.gid, name: `uid ${data.uid}` }
  const users = readFileSync('/etc/passwd', 'utf8')
  const owner = findUser(users, 'postgres') ?? findUser(users, 'nobody')
  if (owner !== undefined) return owner
  throw new QueueError('EMBEDDED_NO_USER', 'PostgreSQL does not run as root, and no user "postgres" exists', {
    hint: 'run pgbq as an ordinary user, or add that user: useradd --system postgres',
  })
}

/** A user of /etc/passwd, passwd(5). An id may be written as a negative number there (macOS: nobody is -2). */
export function findUser(passwd: string, name: string): Owner | undefined {
  const fields = passwd
    .split('\n')
    .map((line) => line.split(':'))
    .find((line) => line[0] === name)
  if (fields?.[2] === undefined || fields[3] === undefined) return undefined
  return { uid: Number(fields[2]) >>> 0, gid: Number(fields[3]) >>> 0, name }
}

/** Throws EMBEDDED_HOME_UNREADABLE when the owner cannot enter the folder, and names the part that is closed. */
export function checkReach(folder: string, owner: Owner): void {
  if (canEnter(folder, owner)) return
  const parts = [folder]
  while (dirname(parts[0]!) !== parts[0]) parts.unshift(dirname(parts[0]!))
  const closed = parts.find((part) => !canEnter(part, owner)) ?? folder
  const message = `The server runs as the user "${owner.name}", who cannot enter "${closed}", so its data cannot be below it`
  throw new QueueError('EMBEDDED_HOME_UNREADABLE', message, {
    hint: 'name a folder that every user can enter: PGBQ_EMBEDDED_HOME=/var/lib/pgbq',
  })
}

/** Tried, not computed from mode bits: access lists and mounts have a say too. */
function canEnter(folder: string, owner: Owner): boolean {
  const asOwner = { uid: owner.uid, gid: owner.gid, cwd: '/', stdio: 'ignore' as const }
  const tried: SpawnSyncReturns<Buffer> = spawnSync('/bin/sh', ['-c', 'cd "$1"', 'sh', folder], asOwner)
  if (tried.error === undefined) return tried.status === 0
  const message = `PostgreSQL does not run as root, and the user "${owner.name}" cannot be taken on: ${tried.error.message}`
  throw new QueueError('EMBEDDED_NO_USER', message, {
    hint: 'run pgbq as an ordinary user',
    cause: tried.error,
  })
}
