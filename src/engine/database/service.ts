import { existsSync, readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { QueueError } from '../errors.js'

/**
 * What libpq's service file says of a service: https://www.postgresql.org/docs/current/libpq-pgservice.html
 * PGSERVICEFILE or ~/.pg_service.conf, then pg_service.conf in PGSYSCONFDIR. Errors: UNKNOWN_SERVICE.
 */
export function readService(
  name: string,
  env: NodeJS.ProcessEnv = process.env,
  file = env.PGSERVICEFILE,
): Record<string, string> {
  const files = [
    file || join(env.HOME || homedir(), '.pg_service.conf'),
    join(env.PGSYSCONFDIR || '/etc/postgresql-common', 'pg_service.conf'),
  ]
  for (const file of files) {
    const section = existsSync(file) ? sectionOf(readFileSync(file, 'utf8'), name) : undefined
    if (section !== undefined) return section
  }
  throw new QueueError(
    'UNKNOWN_SERVICE',
    `No service is named "${name}" in ${files.map((f) => `"${f}"`).join(' or ')}`,
    {
      hint: 'correct PGSERVICE, or name the server in --database-url',
    },
  )
}

function sectionOf(text: string, name: string): Record<string, string> | undefined {
  let found: Record<string, string> | undefined
  for (const line of text.split('\n').map((l) => l.trim())) {
    if (line.startsWith('[')) {
      if (found) return found
      if (line === `[${name}]`) found = {}
    } else if (found && !line.startsWith('#') && line.includes('=')) {
      found[line.slice(0, line.indexOf('=')).trim()] = line.slice(line.indexOf('=') + 1).trim()
    }
  }
  return found
}
