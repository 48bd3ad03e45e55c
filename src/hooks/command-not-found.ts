import type { Hook } from '@oclif/core'
import { closest } from 'fastest-levenshtein'
import { hidePasswords } from '../output/plain.js'

/** An unknown command is a usage error like any other: the fact, the nearest known one, exit code 2. */
const commandNotFound: Hook.CommandNotFound = async ({ id, config, argv = [] }) => {
  // oclif takes a URL behind a command for its subcommands
  const name = /:\/\//.test(id) ? hidePasswords(id) : id.replaceAll(':', ' ')
  const known = config.commandIDs
    .filter((command) => command !== 'help')
    .map((command) => command.replaceAll(':', ' '))
  const message = `No command is named "${name}"`
  const hint = `pgbq ${closest(name, known)}, or pgbq help`
  if (argv.includes('--json')) {
    process.stdout.write(`${JSON.stringify({ error: { code: 'USAGE', message, hint } }, null, 2)}\n`)
  } else {
    process.stderr.write(`Error: ${message}\nTry this: ${hint}\n`)
  }
  process.exitCode = 2
}

export default commandNotFound
