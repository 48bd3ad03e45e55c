import type { Parameter, SettingProblem } from '../engine/settings.js'
import chalk from './color.js'
import { plain } from './plain.js'
import { oneLine, renderTable, topicCell } from './table.js'

export function parametersTable(parameters: Parameter[]): string {
  if (parameters.length === 0) return 'No parameter of its own'
  return renderTable(
    ['parameter', 'topic', 'value', 'source'],
    parameters.map((p) => [
      p.name,
      topicName(p.topic),
      `${p.value}${p.capped ? chalk.yellow(' capped') : ''}`,
      p.source,
    ]),
    { flexible: [1] },
  )
}

const topicName = (topic: string | null): string =>
  topic === null ? '' : topic === '' ? '(no topic)' : topicCell(topic)

/** The server's names of what `given_values()` calls server and topic_config. */
const PREFIX = 'pg_background_queue.'

/** A value that a source gives and nobody can obey. */
export function problemLine({ source, lane, name, value, expected }: SettingProblem): string {
  const scope = !lane ? '' : lane === '/' ? 'tasks without topic' : `topic "${plain(lane.slice(1))}"`
  const what =
    source === 'server'
      ? `${PREFIX}${name}`
      : [name, name && scope ? `of ${scope}` : scope, name || scope ? place(source) : `${PREFIX}${source}`]
          .filter(Boolean)
          .join(' ')
  return `${chalk.yellow('Ignored')}: ${what} is "${oneLine(value, 200)}", expected ${expected}`
}

const place = (source: string): string => (source === 'stored' ? '(stored)' : `in ${PREFIX}${source}`)
