import type { Hook } from '@oclif/core'
import { nearest } from '../output/nearest.js'
import { hidePasswords } from '../output/plain.js'

/** An unknown command is a usage error like any other: the fact, the nearest known one, exit code 2. */
const commandNotFound: Hook.CommandNotFound = async ({ id, config, argv = [] }) => {
  // oclif takes a URL behind a command for its subcommands
  const name = /:\/\//.test(id) ? hidePasswords(id) : id.replaceAll(':', ' ')
  const known = config.commandIDs
    .filter((command) => !['help', 'complete'].includes(command))
    .map((command) => command.replaceAll(':', ' '))
  const message = `No command is named "${name}"`
  const near = nearestCommand(name.split(' '), known)
  const hint = near === undefined ? 'pgbq help' : `pgbq ${near}, or pgbq help`
  if (argv.includes('--json')) {
    process.stdout.write(`${JSON.stringify({ error: { code: 'USAGE', message, hint } }, null, 2)}\n`)
  } else {
    process.stderr.write(`Error: ${message}\nTry this: ${hint}\n`)
  }
  process.exitCode = 2
}

/** What stands behind the command, oclif takes for a part of its name: look at its first two words, then at one. */
function nearestCommand(words: string[], known: string[]): string | undefined {
  for (const length of [2, 1]) {
    const command = words.slice(0, length).join(' ')
    const near = nearest(
      command,
      known.filter((name) => name.split(' ').length === length),
    )
    if (near !== undefined) return near
  }
  return undefined
}

export default commandNotFound
