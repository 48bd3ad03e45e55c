import { appendFileSync, existsSync, renameSync, statSync } from 'node:fs'
import type { Emit, QueueEvent } from '../engine/events.js'
import chalk, { colorState } from './color.js'
import { sayDuration } from './duration.js'
import { toJson } from './json.js'
import { plain, plainTopic } from './plain.js'

/**
 * Prints events: JSON lines on stdout for machines, words on stderr for people. Never a task's SQL. A detached
 * supervisor (PGBQ_LOG_FILE) writes both to its log file. Not a library: pino, the one that is kept, brings 28 packages
 * and 20 ms, or 33 with what words its lines for people; the words, the names of the JSON and the cap of the file would
 * still be ours to write.
 */
export function eventPrinter(format: 'text' | 'json'): Emit {
  const file = process.env.PGBQ_LOG_FILE
  const stream = format === 'json' ? process.stdout : process.stderr
  const write = gathered(file ? cappedWriter(file) : (lines) => void stream.write(lines))
  // whoever read may be gone (a closed terminal sends SIGHUP); the tasks' ends still have to be waited for
  if (!file) stream.on('error', () => undefined)
  if (format === 'json') return (event) => write(`${toJson(toRecord(event), 0)}\n`)
  return (event) => write(`${chalk.dim(new Date().toISOString())} ${word(event)}\n`)
}

/** What is told in one go is one write. */
function gathered(write: (lines: string) => void): (line: string) => void {
  let lines = ''
  const flush = (): void => {
    const all = lines
    lines = ''
    write(all)
  }
  return (line) => {
    if (lines === '') queueMicrotask(flush)
    lines += line
  }
}

const LOG_CAP_BYTES = 10_000_000

/** Appends to a file; past the cap what was written becomes FILE.1 and a new file begins. */
function cappedWriter(file: string): (lines: string) => void {
  let size = existsSync(file) ? statSync(file).size : 0
  return (lines) => {
    if (size + lines.length > LOG_CAP_BYTES) {
      renameSync(file, `${file}.1`)
      size = 0
    }
    appendFileSync(file, lines, { mode: 0o600 })
    size += lines.length
  }
}

/** `{time, event, …}` with names as in the table: task_id, worker_id, duration_ms. */
function toRecord(event: QueueEvent): Record<string, unknown> {
  const { event: name, ...rest } = event
  const record: Record<string, unknown> = { time: new Date().toISOString(), event: name }
  for (const [key, value] of Object.entries(rest)) {
    if (key === 'task') {
      const { id, topic, attempt } = value as { id: bigint; topic: string | null; attempt: number }
      Object.assign(record, { task_id: id, topic, attempt })
    } else if (key === 'durationMs') record.duration_ms = Math.round(value as number)
    else record[columnName(key)] = value
  }
  return record
}

const columnNames = new Map<string, string>()

function columnName(key: string): string {
  let name = columnNames.get(key)
  if (name === undefined) {
    name = key.replace(/[A-Z]/g, (c) => `_${c.toLowerCase()}`)
    columnNames.set(key, name)
  }
  return name
}

function word(event: QueueEvent): string {
  switch (event.event) {
    case 'ready':
      return `ready: ${event.slots} ${plural(event.slots, 'slot')}, ${event.warm} warm, ${event.database}`
    case 'metrics':
      return `metrics at ${[event.url, event.file].filter(Boolean).join(' and ')}`
    case 'claimed':
      return `task ${event.task.id} ${colorState('running')}${topic(event.task.topic)} on worker ${event.workerId}${event.task.attempt > 1 ? `, attempt ${event.task.attempt}` : ''}`
    case 'finished':
      return `task ${event.task.id} ${colorState('finished')} in ${sayDuration(event.durationMs / 1000)}${event.tag ? `: ${event.tag}${event.rows === null ? '' : ` ${event.rows}`}` : ''}`
    case 'failed':
    case 'retrying':
    case 'cancelled':
      return `task ${event.task.id} ${colorState(event.event)} after ${sayDuration(event.durationMs / 1000)}${event.error ? `: ${said(event.error.message)}` : ''}`
    case 'released':
      return `task ${event.task.id} released after ${sayDuration(event.durationMs / 1000)}`
    case 'rescued':
      return `rescued ${plural(event.taskIds.length, 'task')} ${event.taskIds.join(', ')}: ${said(event.reason)}`
    case 'worker_started':
      return `worker ${event.workerId} started (pid ${event.pid}, role ${event.role})`
    case 'worker_gone':
      return `worker ${event.workerId ?? '?'} gone (pid ${event.pid})${event.isExpected ? '' : `: ${said(event.reason)}`}`
    case 'role_refused':
      return `cannot run the tasks of role "${event.role}": ${said(event.reason)}`
    case 'warning':
      return `${chalk.yellow('warning')}: ${said(event.message)}`
    case 'database_lost':
      return `${chalk.red('database lost')}: ${said(event.reason)}; reconnecting`
    case 'database_back':
      return `back at ${said(event.database)}`
    case 'stopping':
      return `stopping: ${said(event.reason)}`
    case 'left':
      return `left ${event.count} ${plural(event.count, 'task')}${topic(event.topic)}: ${said(event.reason)}`
    case 'stopped':
      return 'stopped'
  }
}

/** An event is one line, whatever its words hold. */
const said = (text: string): string => plain(text).replace(/\s*\n\s*/g, ' ')

const topic = (name: string | null): string => (name === null ? '' : ` [${plainTopic(name)}]`)
const plural = (count: number, noun: string): string => (count === 1 ? noun : `${noun}s`)
