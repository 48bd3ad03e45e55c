import { readProblems, type SettingProblem } from '../settings.js'
import { topicFlag } from '../shell-word.js'
import { type Finding, ok, type Patient, warning } from './check.js'

/** What is given and cannot be obeyed. */
export async function checkSettings({ database }: Patient): Promise<Finding | Finding[]> {
  const problems = await readProblems(database)
  if (problems.length === 0) return ok('Every setting can be obeyed')
  return problems.map((p) =>
    warning(`${place(p)} is "${p.value}" and ignored, expected ${p.expected}`, fix(p)),
  )
}

const PREFIX = 'pg_background_queue.'

function place({ source, lane, name }: SettingProblem): string {
  const topic = !lane ? '' : lane === '/' ? ' of tasks without topic' : ` of topic "${lane.slice(1)}"`
  if (source === 'server') return `${PREFIX}${name}`
  if (source === 'stored') return `The stored ${name}${topic}`
  return lane === null ? `${PREFIX}${source}` : `${name ?? 'The value'}${topic} in ${PREFIX}${source}`
}

function fix({ source, lane, name }: SettingProblem): string {
  if (source === 'stored') return `pgbq config unset ${name}${lane ? ` ${topicFlag(lane.slice(1))}` : ''}`
  return `correct ${PREFIX}${source === 'server' ? name : source} in postgresql.conf, or where ALTER DATABASE or ALTER ROLE set it`
}
