import type { Hook } from '@oclif/core'

/** oclif's --version names its user agent; ours tells of the schema and the embedded server too, asking no server. */
const init: Hook.Init = async ({ config, id }) => {
  if (id !== '--version') return
  const { sayVersions } = await import('../output/versions.js')
  // read-only to its types alone; there is no other way to add to that line
  Object.assign(config, { userAgent: sayVersions(config.userAgent) })
}

export default init
