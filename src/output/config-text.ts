import type { Parameter, SettingProblem } from '../engine/settings.js'
import chalk from './color.js'
import { renderTable } from './table.js'

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
  )
}

const topicName = (topic: string | null): string =>
  topic === null ? '' : topic === '' ? '(no topic)' : topic

/** A value that a source gives and nobody can obey. */
export function problemLine({ source, lane, name, value, expected }: SettingProblem): string {
  const where = [name, lane?.startsWith('/') ? `of topic "${lane.slice(1)}"` : undefined, `in ${source}`]
  return `${chalk.yellow('ignored')}: ${where.filter(Boolean).join(' ')} is "${value}", expected ${expected}`
}
