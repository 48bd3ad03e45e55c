import type { Database } from '#pgbq/engine/database/database'

/** Tasks numbered from 1, the same for every queue. */
export interface Workload {
  count: number
  /** the SQL of a task; {n} becomes its number */
  template: string
  /** if given, only the first task and every so many run the template, the others this */
  marks?: { every: number; otherwise: string }
  /** a topic for all, or a number of topics that they are spread over (for pgbq alone) */
  topic?: string | number
}

/** One row a task, whose time the task writes itself: all rates come from there. No key: twice would be two rows. */
const EFFECTS = 'create table effects (n integer not null, at timestamptz not null default clock_timestamp())'

export const ONE_ROW = 'insert into effects (n) values ({n})'

export async function createEffects(session: Database): Promise<void> {
  await session.query(EFFECTS)
}

/** The SQL of a task as an SQL expression over its number g. */
export function statementSql({ template, marks }: Workload): string {
  const marked = `replace(${literal(template)}, '{n}', g::text)`
  if (marks === undefined) return marked
  return `case when g = 1 or g % ${marks.every} = 0 then ${marked} else ${literal(marks.otherwise)} end`
}

/** The topic of a task as an SQL expression over its number g. */
export function topicSql({ topic }: Workload): string {
  if (topic === undefined) return 'null::text'
  return typeof topic === 'number' ? `'topic ' || g % ${topic}` : `${literal(topic)}::text`
}

export function statementOf({ template, marks }: Workload, n: number): string {
  const isMark = marks === undefined || n === 1 || n % marks.every === 0
  return isMark ? template.replaceAll('{n}', String(n)) : marks.otherwise
}

/** How many rows its tasks write. */
export function expectedRows({ count, marks }: Workload): number {
  if (marks === undefined) return count
  return Math.floor(count / marks.every) + (marks.every > 1 ? 1 : 0)
}

export const literal = (text: string): string => `'${text.replaceAll("'", "''")}'`
