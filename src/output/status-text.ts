import type { Row } from '../engine/database/database.js'
import type { QueueStatus, StateCounts } from '../engine/status.js'
import chalk, { colorState, TASK_STATES } from './color.js'
import { sayDuration } from './duration.js'
import { plain, plainTopic } from './plain.js'
import { oneLine, renderTable } from './table.js'
import { sayTime, type TimeStyle } from './time.js'

/** The queue at a glance, for people. */
export function statusText(status: QueueStatus, times?: TimeStyle): string {
  const parts = [topicsTable(status), workersText(status, times)]
  if (status.oldest_due_sec !== null)
    parts.push(`Oldest due task: waiting for ${sayDuration(status.oldest_due_sec)}`)
  for (const { role, count } of status.supervisors.length > 0 ? status.stranded_roles : []) {
    parts.push(chalk.yellow(`No worker runs tasks of role "${plain(String(role))}": ${count} due`))
  }
  if (status.failures.length > 0) parts.push(failuresTable(status.failures, times))
  return parts.join('\n\n')
}

function topicsTable({ topics, states }: QueueStatus): string {
  if (topics.length === 0) return 'No tasks'
  const line = (counts: StateCounts) =>
    TASK_STATES.map((state) =>
      counts[state] === 0 ? chalk.dim('0') : colorState(state, String(counts[state])),
    )
  const rows = topics.map((t) => [
    t.topic === null ? chalk.dim('(no topic)') : plainTopic(t.topic),
    ...line(t.states),
    `${t.limit}${t.paused ? ' paused' : ''}${t.delay_in_sec > 0 ? ` every ${t.delay_in_sec} s` : ''}`,
  ])
  return renderTable(
    ['topic', ...TASK_STATES, 'limit'],
    [...rows, [chalk.bold('all'), ...line(states), '']],
    [0],
  )
}

function workersText({ workers, supervisors }: QueueStatus, times?: TimeStyle): string {
  if (supervisors.length === 0) return 'No supervisor is alive'
  const rows = workers.map((w) => [
    String(w.id),
    `${w.host}/${w.pid}`,
    plain(String(w.role)),
    w.state === 'running' ? colorState('running', `task ${w.task_id}`) : String(w.state),
    sayTime(String(w.since), times),
  ])
  const head = `${supervisors.length} supervisor${supervisors.length === 1 ? '' : 's'}, ${workers.length} worker${workers.length === 1 ? '' : 's'}`
  return rows.length === 0
    ? head
    : `${head}\n${renderTable(['worker', 'host/pid', 'role', 'state', 'since'], rows, [1, 2])}`
}

function failuresTable(failures: Row[], times?: TimeStyle): string {
  return renderTable(
    ['failed', 'topic', 'at', 'error'],
    failures.map((f) => [
      String(f.id),
      plainTopic(String(f.topic ?? '')),
      sayTime(String(f.closed_at), times),
      oneLine(String(f.errors), 70),
    ]),
    [1, 3],
  )
}
