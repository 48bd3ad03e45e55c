import { createReadStream, statSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import helper from 'pgpass/lib/helper.js'
import { QueueError } from '../errors.js'
import { type ConnectionTarget, describeTarget, SOCKET_FOLDERS } from './target.js'

/**
 * What the password file says of a server that wants a password; undefined where it says nothing.
 * https://www.postgresql.org/docs/current/libpq-pgpass.html Errors: LOGIN_REFUSED where others may read the file.
 */
export async function readPassword(target: ConnectionTarget): Promise<string | undefined> {
  const file = target.passfile ?? join(homedir(), '.pgpass')
  const stat = statSync(file, { throwIfNoEntry: false })
  if (!stat?.isFile()) return undefined
  if (process.platform !== 'win32' && (stat.mode & 0o077) !== 0) {
    throw new QueueError(
      'LOGIN_REFUSED',
      `The server wants a password for ${describeTarget(target)}, and the password file "${file}" is not used, because others may read it`,
      { hint: `chmod 600 ${file}` },
    )
  }
  const { host = '', port, user, database } = target.config
  for (const name of SOCKET_FOLDERS.includes(host) ? ['localhost', host] : [host]) {
    const password = await lookUp(file, { host: name, port, user, database })
    if (password !== undefined) return password
  }
  return undefined
}

function lookUp(file: string, of: Parameters<typeof helper.getPassword>[0]): Promise<string | undefined> {
  return new Promise((resolve) => helper.getPassword(of, createReadStream(file), resolve))
}
