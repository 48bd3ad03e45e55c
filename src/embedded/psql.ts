import { spawn } from 'node:child_process'
import { QueueError } from '../engine/errors.js'
import { DATABASE } from './cluster.js'
import { PORT } from './postmaster.js'
import type { EmbeddedServer } from './server.js'

/**
 * Runs the user's psql on the server, on this terminal, and resolves with its exit code. The npm packages hold no
 * psql. Errors: PSQL_MISSING.
 */
export function runPsql(server: EmbeddedServer, args: string[]): Promise<number> {
  const env = {
    ...process.env,
    PGHOST: server.socketDir,
    PGPORT: String(PORT),
    PGUSER: DATABASE,
    PGDATABASE: DATABASE,
  }
  // a service, or the other settings of a server elsewhere, would lead away from ours
  for (const name of ['PGSERVICE', 'PGHOSTADDR', 'PGPASSWORD', 'PGSSLMODE', 'PGOPTIONS'])
    delete env[name as keyof typeof env]
  // Ctrl-C is psql's: it cancels a statement
  const ignore = () => undefined
  process.on('SIGINT', ignore)
  const child = spawn('psql', args, { stdio: 'inherit', env })
  return new Promise<number>((resolve, reject) => {
    child.once('error', (error) => reject(psqlMissing(server, error)))
    child.once('exit', (code) => resolve(code ?? 1))
  }).finally(() => process.off('SIGINT', ignore))
}

function psqlMissing(server: EmbeddedServer, cause: Error): Error {
  if ((cause as NodeJS.ErrnoException).code !== 'ENOENT') return cause
  return new QueueError(
    'PSQL_MISSING',
    'There is no program "psql" on this host, and the embedded PostgreSQL brings none',
    {
      hint: `install the client of PostgreSQL (package postgresql-client, or brew install libpq), or use any client with ${server.url}`,
      cause,
    },
  )
}
