import type { TaskInFull, WatchedTask, WatchedWorker } from '../../engine/watch/look.js'
import type { Picture } from '../../engine/watch/picture.js'
import chalk, { colorState } from '../color.js'
import { sayDuration } from '../duration.js'
import { oneLine } from '../table.js'
import { shorten } from '../width.js'
import { type Cell, restOf, type Size, tableLine, topicName, wrap } from './text.js'
import { STATE_CHOICES, selectedIndex, type Ui } from './ui.js'

/** Tasks of one topic or of all: what runs, what waits in the order of claiming, what ended last. */
export function tasksPage(ui: Ui, picture: Picture, { columns, rows }: Size): string[] {
  const topic = ui.topic === '' ? 'all topics' : topicName(ui.topic === '/' ? null : ui.topic.slice(1))
  const title = chalk.bold(shorten(` Tasks of ${topic}, ${STATE_CHOICES[ui.states]!.name}`, columns))
  if (picture.tasks.length === 0)
    return [title, ...noTasks(ui, picture).map((line) => shorten(` ${line}`, columns))]
  const keys = picture.tasks.map((t) => t.id)
  const index = selectedIndex(ui, keys)
  const widths = {
    id: Math.max(2, ...keys.map((id) => id.length)),
    state: 9,
    topic: ui.topic !== '' ? 0 : columns < 120 ? 12 : 24,
    when: 16,
    took: 7,
  }
  const sql = restOf(
    columns,
    Object.values(widths).filter((width) => width > 0),
  )
  const head = Object.entries(widths).map(([text, width]) => ({
    text,
    width,
    isRight: text === 'id' || text === 'took',
  }))
  const lines = picture.tasks.map((task, i) => tableLine(shown(taskCells(task, widths, sql)), i === index))
  const headLine = chalk.bold(tableLine(shown([...head, { text: 'sql', width: sql }])))
  return [title, headLine, ...pageOf(lines, index, rows - 2)]
}

/** Of a large table a look reads no more than the tasks that closed last. */
function noTasks({ states }: Ui, { sample }: Picture): string[] {
  const where = sample ? ' among those that wait or run and the 10,000 that closed last' : ''
  return [`No tasks${where}`, ...(states > 0 ? ['s shows other states'] : [])]
}

const shown = (cells: Cell[]): Cell[] => cells.filter(({ width }) => width > 0)

const pageOf = (lines: string[], index: number, rows: number): string[] => {
  const first = Math.floor(index / rows) * rows
  return lines.slice(first, first + rows)
}

function taskCells(task: WatchedTask, widths: Record<string, number>, width: number): Cell[] {
  const { id, state, topic, sec, took, sql } = task
  return [
    { text: id, width: widths.id!, isRight: true },
    { text: state, width: widths.state!, paint: (text) => colorState(state, text) },
    { text: topicName(topic), width: widths.topic! },
    { text: sayWhen(state, sec), width: widths.when! },
    { text: took === null ? '' : sayDuration(Math.max(0, took)), width: widths.took!, isRight: true },
    { text: oneLine(sql, width), width },
  ]
}

function sayWhen(state: string, sec: number): string {
  if (state === 'running') return `for ${sayDuration(Math.max(0, sec))}`
  if (state === 'pending' || state === 'retrying')
    return sec < 0 ? `due in ${sayDuration(-sec)}` : `waits ${sayDuration(sec)}`
  return `${sayDuration(Math.max(0, sec))} ago`
}

/** Workers, and what each runs and for how long. */
export function workersPage(ui: Ui, { workers }: Picture, { columns, rows }: Size): string[] {
  const keys = workers.map((w) => w.id)
  const index = ui.page === 'workers' ? selectedIndex(ui, keys) : -1
  const isWide = columns >= 120
  const widths = {
    worker: Math.max(6, ...keys.map((id) => id.length)),
    'host/pid': isWide ? 30 : 14,
    task: Math.max(4, ...workers.map((w) => w.task?.length ?? 0)),
    topic: isWide ? 24 : 12,
    for: 7,
  }
  const sql = restOf(columns, Object.values(widths))
  const head = Object.entries(widths).map(([text, width]) => ({
    text,
    width,
    isRight: text !== 'host/pid' && text !== 'topic',
  }))
  const headLine = chalk.bold(tableLine([...head, { text: 'sql', width: sql }]))
  if (workers.length === 0) return [headLine, ' No workers. Try this: pgbq work']
  const lines = workers.map((worker, i) => tableLine(workerCells(worker, widths, sql), i === index))
  return [headLine, ...pageOf(lines, Math.max(0, index), rows - 1)]
}

function workerCells(worker: WatchedWorker, widths: Record<string, number>, width: number): Cell[] {
  const { id, host, pid, task, topic, sec, ends, sql } = worker
  const paint = (text: string) => (task === null ? chalk.dim(text) : text)
  const text = task === null ? 'idle' : `${ends ? `(${ends} asked) ` : ''}${oneLine(sql, width)}`
  return [
    { text: id, width: widths.worker!, isRight: true, paint },
    { text: oneLine(`${host}/${pid}`), width: widths['host/pid']!, paint },
    { text: task ?? '', width: widths.task!, isRight: true, paint: (t) => colorState('running', t) },
    { text: task === null ? '' : topicName(topic), width: widths.topic!, paint },
    { text: task === null ? '' : sayDuration(Math.max(0, sec)), width: widths.for!, isRight: true, paint },
    { text, width, paint },
  ]
}

/** All about one task, which can be scrolled. */
export function taskPage(ui: Ui, picture: Picture, { columns, rows }: Size): string[] {
  const { task } = picture
  if (task === null || task.id !== ui.task)
    return [` Task ${ui.task}`, picture.task ? '' : ' is not there, or not yet read']
  const lines = taskLines(task, columns - 2, picture.now)
  const first = Math.min(ui.scroll, scrollLimit(picture, { columns, rows }))
  return lines.slice(first, first + rows).map((line) => ` ${line}`)
}

/** The last line of a task that can stand at the top. */
export function scrollLimit({ task, now }: Picture, { columns, rows }: Size): number {
  return task === null ? 0 : Math.max(0, taskLines(task, columns - 2, now).length - rows)
}

function taskLines(
  { id, state, sql, bytes, errors, row, attempts }: TaskInFull,
  columns: number,
  now: number,
) {
  const fields = Object.entries(row)
    .filter(([, value]) => value !== null && value !== '' && value !== 0)
    .sort(([a], [b]) => placeOf(a) - placeOf(b))
    .map(([name, value]) => shorten(`${name.padEnd(19)}${sayField(value, now)}`, columns))
  const rest =
    bytes > Buffer.byteLength(sql)
      ? [chalk.dim(`… of ${bytes.toLocaleString('en')} bytes; pgbq status ${id} shows all`)]
      : []
  return [
    `${chalk.bold(`Task ${id}`)} ${colorState(state)}`,
    ...(errors === null ? [] : [...wrap(errors, columns).map((line) => chalk.red(line)), '']),
    ...fields,
    '',
    ...wrap(sql, columns),
    ...rest,
    ...(attempts.length === 0 ? [] : ['', chalk.bold('attempts that did not finish')]),
    ...attempts.map((a) =>
      shorten(
        `${sayField(a.ended_at, now)}  ${a.outcome}  ${a.sqlstate ?? ''} ${oneLine(a.message, columns)}`,
        columns,
      ),
    ),
  ]
}

/** As a task lives; the others come behind. */
const FIELDS = [
  'topic',
  'enqueued_by',
  'priority',
  'joined_at',
  'run_at',
  'started_at',
  'closed_at',
  'command_tag',
]

const placeOf = (field: string): number => (FIELDS.includes(field) ? FIELDS.indexOf(field) : FIELDS.length)

/** An instant is told in full and from now. */
function sayField(value: unknown, now: number): string {
  const text = String(value)
  const at = /^\d{4}-\d\d-\d\dT/.test(text) ? Date.parse(text) / 1000 : Number.NaN
  if (Number.isNaN(at)) return oneLine(text, 500)
  const sec = now - at
  const distance = sec < 0 ? `in ${sayDuration(-sec)}` : `${sayDuration(sec)} ago`
  return `${new Date(at * 1000).toISOString().slice(0, 19).replace('T', ' ')} UTC (${distance})`
}

export const HELP = [
  '↑ ↓ k j             move; PgUp PgDn Home End as well',
  'Enter →             open: the tasks of a topic, a task in full',
  'Esc ←               back',
  't                   topics',
  'w                   workers, and what each runs',
  's                   tasks: only of a state',
  '/                   topics: only those with this in their name',
  'c                   cancel the task; asks first',
  'r                   retry a failed or cancelled task; asks first',
  'Ctrl-Z Ctrl-L       to the shell until "fg"; draw anew',
  'q Ctrl-C            leave',
  '',
  'One look a second, about 10 ms of the server however many tasks there are.',
  'Waiting and running tasks are counted. A number with ~ is estimated from a',
  'sample of the table, always the same blocks of it: closed tasks where there',
  'are more than 8 MB of tasks, waiting ones where there are more than 10,000.',
  '"pgbq status" counts all of them.',
]
