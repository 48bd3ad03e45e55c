import type { Row } from '../engine/database/database.js'
import type { TaskRow } from '../engine/task-store.js'
import chalk, { colorState } from './color.js'
import { sayDuration } from './duration.js'
import { plain, plainTopic } from './plain.js'
import { oneLine, renderTable } from './table.js'

/** How a task ended, in one or a few lines. */
export function sayOutcome(task: TaskRow): string {
  const took = seconds(task)
  const effect = task.command_tag
    ? `: ${task.command_tag}${task.rows_affected === null ? '' : ` ${task.rows_affected}`}`
    : ''
  const head = `Task ${task.id} ${colorState(task.state)}${took === null ? '' : ` in ${sayDuration(took)}`}`
  return task.state === 'finished' ? `${head}${effect}` : `${head}\n${plain(task.errors ?? '')}`.trimEnd()
}

function seconds(task: TaskRow): number | null {
  if (task.started_at === null || task.closed_at === null) return null
  return Math.max(0, (Date.parse(task.closed_at) - Date.parse(task.started_at)) / 1000)
}

/** Tasks as a table, one line each. */
export function tasksTable(tasks: TaskRow[]): string {
  if (tasks.length === 0) return 'No tasks'
  return renderTable(
    ['id', 'state', 'topic', 'prio', 'joined', 'took', 'sql'],
    tasks.map((task) => {
      const took = seconds(task)
      return [
        String(task.id),
        colorState(task.state),
        plainTopic(task.topic ?? ''),
        String(task.priority),
        task.joined_at.slice(0, 19).replace('T', ' '),
        took === null ? '' : sayDuration(took),
        oneLine(task.sql_statement),
      ]
    }),
    [2, 6],
  )
}

/** All about one task. */
export function taskDetail(task: TaskRow, attempts: Row[]): string {
  const fields = Object.entries(task)
    .filter(([name, value]) => value !== null && !['sql_statement', 'errors', 'id'].includes(name))
    .map(([name, value]) => [
      chalk.dim(name),
      name === 'state' ? colorState(String(value)) : plainTopic(String(value)),
    ])
  const parts = [
    `${chalk.bold(`Task ${task.id}`)}`,
    renderTable(['', ''], fields).replace(/^\s*\n/, ''),
    plain(task.sql_statement),
  ]
  if (task.errors !== null) parts.push(chalk.red(plain(task.errors)))
  if (attempts.length > 0) parts.push(attemptsTable(attempts))
  return parts.join('\n\n')
}

function attemptsTable(attempts: Row[]): string {
  return renderTable(
    ['ended', 'outcome', 'sqlstate', 'message'],
    attempts.map((a) => [
      String(a.ended_at).slice(0, 19).replace('T', ' '),
      String(a.outcome),
      String(a.sqlstate ?? ''),
      oneLine(String(a.message ?? ''), 80),
    ]),
    [3],
  )
}
