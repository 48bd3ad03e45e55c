import { grantFlags, type Moved } from '../engine/from-extension.js'
import type { InstallReport } from '../engine/migrator.js'
import type { Parameter } from '../engine/settings.js'

/** What an install did, or would do. */
export function sayInstall(report: InstallReport, isDryRun: boolean): string {
  const { from, to, schema, moved } = report
  const steps = report.applied.length > 0 ? `: ${report.applied.join(', ')}` : ''
  const isOrWouldBe = isDryRun ? 'would be' : 'is'
  const change =
    from === null
      ? `The queue ${isOrWouldBe} installed in schema "${schema}", version ${to}${steps}`
      : `The queue in schema "${schema}" is at version ${to}${from === to ? '' : `, before ${from}${steps}`}`
  const first = isDryRun ? `Nothing was changed. ${change}` : change
  return [first, ...(moved ? sayMoved(moved, isDryRun) : [])].join('\n')
}

function sayMoved(moved: Moved, isDryRun: boolean): string[] {
  const total = Object.values(moved.tasks).reduce((sum, count) => sum + count, 0n)
  const counts = Object.entries(moved.tasks).map(([state, count]) => `${count} ${state}`)
  const { stuck, settings, prunable } = moved
  const would = isDryRun ? 'would be' : 'is'
  return [
    `The C extension pg_background_queue ${moved.version} ${would} dropped`,
    `${total} tasks ${isDryRun ? 'would be' : 'are'} taken over under their ids${total === 0n ? '' : `: ${counts.join(', ')}`}`,
    ...(stuck.count === 0n ? [] : [`${stuck.count} that ran when a worker died ${would} ${stuck.became}`]),
    `The owner, and the role of these tasks, ${would} ${moved.owner}; instants were read in time zone ${moved.time_zone}`,
    ...(settings.length === 0
      ? ['The server has no settings of the extension']
      : [`The server's settings stay in force: ${settings.map(saySetting).join(', ')}`]),
    ...(moved.lost_rights.length === 0
      ? []
      : [`Roles that could enqueue need it granted: pgbq install ${grantFlags(moved.lost_rights)}`]),
    ...(prunable.count === 0n
      ? []
      : [
          `${prunable.count} closed tasks are older than ${prunable.days} days, and the first supervisor deletes them; to keep them: pgbq config set retention_in_days 0`,
        ]),
  ]
}

function saySetting({ name, topic, value }: Parameter): string {
  if (topic === null) return `${name} ${value}`
  return `${name} ${value} for ${topic === '' ? 'tasks without topic' : `topic "${topic}"`}`
}
