import type { Moved } from '../engine/from-extension/move.js'
import type { InstallReport } from '../engine/migrator.js'
import type { Parameter } from '../engine/settings.js'
import { shellWord } from '../engine/shell-word.js'

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
    ...(moved.library_loaded
      ? [
          'Its library is loaded until the server starts without it: take pg_background_queue out of shared_preload_libraries, keep the lines pg_background_queue.*',
        ]
      : []),
    ...(moved.lost_rights.length === 0
      ? []
      : [
          `Roles that could enqueue need it granted: pgbq install ${moved.lost_rights.map((role) => `--grant-enqueue ${shellWord(role)}`).join(' ')}`,
        ]),
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
