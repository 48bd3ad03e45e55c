import { QueueError } from '../errors.js'
import { schemaVersion } from '../sql-files.js'

/** Why a supervisor has to leave whose queue was brought to this version; undefined: it need not. */
export function superseded(version: number | undefined): QueueError | undefined {
  const known = schemaVersion()
  if (version === undefined || version <= known) return undefined
  return new QueueError(
    'NEWER_SCHEMA',
    `The queue was brought to schema version ${version} by a newer pgbq; this one knows ${known}`,
    { hint: 'restart pgbq work with the new version' },
  )
}
