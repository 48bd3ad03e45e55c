import { readFileSync } from 'node:fs'
import type { NewTask, TaskOptions } from '../engine/task-store.js'

/** A piece of sql/demo.sql: its heading, and the SQL below it. */
export interface Section {
  kind: 'shop' | 'task' | 'check'
  name: string
  title: string
  sql: string
  topic: string | undefined
  options: TaskOptions
}

/** A task of the demo. `label` is its section's name, which the parts of the back-fill share. */
export interface DemoTask extends NewTask {
  label: string
  title: string
  key: string
}

const HEADING = /^-- (shop|task|check) (\w+)(?: \[(\w+)\])?(?: (\{.*\}))?: (.*)$/m
const ORDERS = 200_000
const PARTS = 50

/** The sections of one kind, in the order of the file. */
export function readSections(kind: Section['kind']): Section[] {
  const [, ...parts] = readFileSync(new URL('../../sql/demo.sql', import.meta.url), 'utf8').split(HEADING)
  const sections: Section[] = []
  for (let at = 0; at < parts.length; at += 6) {
    const [found, name, topic, options, title, sql] = parts.slice(at, at + 6)
    sections.push({
      kind: found as Section['kind'],
      name: name!,
      title: title!,
      sql: sql!.trim(),
      topic,
      options: JSON.parse(options ?? '{}') as TaskOptions,
    })
  }
  return sections.filter((section) => section.kind === kind)
}

/** The tasks to enqueue, in that order; the unique key of each is its name, by which the checks find it. */
export function readTasks(): DemoTask[] {
  return readSections('task').flatMap((section) =>
    section.sql.includes(':first') ? partsOf(section) : [taskOf(section, section.name, section.sql)],
  )
}

/** One task for each range of ids. */
function partsOf(section: Section): DemoTask[] {
  const size = ORDERS / PARTS
  return Array.from({ length: PARTS }, (_, part) => {
    const first = part * size + 1
    const sql = section.sql.replace(':first', String(first)).replace(':last', String(first + size - 1))
    return taskOf(section, `${section.name} ${part + 1}`, sql)
  })
}

function taskOf({ name, title, topic, options }: Section, key: string, sql: string): DemoTask {
  return { label: name, title, key, sql, topic, options: { ...options, unique_key: key } }
}
