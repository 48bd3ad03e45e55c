import type { Row } from '../engine/database/database.js'
import type { TaskRow } from '../engine/task-store.js'
import chalk, { colorState } from './color.js'
import { sayDuration } from './duration.js'
import { plain, plainTopic } from './plain.js'
import { lastCell, renderTable, topicCell } from './table.js'
import { sayTime, type TimeStyle } from './time.js'

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
export function tasksTable(tasks: TaskRow[], times?: TimeStyle): string {
  if (tasks.length === 0) return 'No tasks'
  return renderTable(
    ['id', 'state', 'topic', 'prio', 'joined', 'took', 'sql'],
    tasks.map((task) => {
      const took = seconds(task)
      return [
        String(task.id),
        colorState(task.state),
        topicCell(task.topic ?? ''),
        String(task.priority),
        sayTime(task.joined_at, times),
        took === null ? '' : sayDuration(took),
        lastCell(task.sql_statement),
      ]
    }),
    { flexible: [2, 6], right: [3, 5] },
  )
}

/** All about one task. */
export function taskDetail(task: TaskRow, attempts: Row[], times?: TimeStyle): string {
  const fields = Object.entries(task)
    .filter(([name, value]) => value !== null && !['sql_statement', 'errors', 'id'].includes(name))
    .map(([name, value]) => [
      chalk.dim(name),
      name === 'state' ? colorState(String(value)) : fieldText(name, String(value), times),
    ])
  const parts = [
    `${chalk.bold(`Task ${task.id}`)}`,
    renderTable(['', ''], fields).replace(/^\s*\n/, ''),
    statementText(task.sql_statement),
  ]
  if (task.errors !== null) parts.push(chalk.red(plain(task.errors)))
  if (attempts.length > 0) parts.push(attemptsTable(attempts, times))
  return parts.join('\n\n')
}

/** A terminal need not scroll through a megabyte. */
const LONGEST_ON_TERMINAL = 10_000

function statementText(sql: string): string {
  if (!process.stdout.isTTY || sql.length <= LONGEST_ON_TERMINAL) return plain(sql)
  const rest = (sql.length - LONGEST_ON_TERMINAL).toLocaleString('en')
  return `${plain(sql.slice(0, LONGEST_ON_TERMINAL))}\n${chalk.dim(`… and ${rest} characters more, which a pipe or --json gets`)}`
}

/** An instant with its distance from now, where that is asked for. */
function fieldText(name: string, text: string, times?: TimeStyle): string {
  const isTold = times?.style === 'relative' && /_at$/.test(name)
  return isTold ? `${text} (${sayTime(text, times)})` : plainTopic(text)
}

function attemptsTable(attempts: Row[], times?: TimeStyle): string {
  return renderTable(
    ['ended', 'outcome', 'sqlstate', 'message'],
    attempts.map((a) => [
      sayTime(String(a.ended_at), times),
      String(a.outcome),
      String(a.sqlstate ?? ''),
      lastCell(String(a.message ?? ''), 80),
    ]),
    { flexible: [3] },
  )
}
