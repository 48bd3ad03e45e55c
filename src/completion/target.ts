import type { ConnectionFlags } from '../base-command.js'
import { readConfigFile } from '../engine/config-file.js'
import { type ConnectionTarget, chosenUrl, resolveTarget } from '../engine/database/target.js'

/** Where the flags, the environment and the file lead; undefined for an embedded server that does not run. */
export async function quietTarget(flags: ConnectionFlags): Promise<ConnectionTarget | undefined> {
  const file = (await readConfigFile(flags.config))?.config
  const url = flags.embedded
    ? 'embedded'
    : chosenUrl({ flag: flags['database-url'], file: file?.database_url })
  if (url !== 'embedded') return resolveTarget(url)
  const { embeddedStatus } = await import('../embedded/server.js')
  const { url: running } = await embeddedStatus()
  return running === null ? undefined : resolveTarget(running)
}
