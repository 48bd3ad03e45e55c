import type { Database, Row } from '../engine/database/database.js'
import { readSections } from './sections.js'
import type { Struck } from './storm.js'

/** What became of the tasks that were enqueued after a fault of one kind and before the next. */
export interface TaskCounts extends Row {
  fault: string
  tasks: number
  finished: number
  /** no row, or finished without its effect */
  lost: number
  /** more than one effect, or one of a task that is not finished */
  duplicated: number
  stuck: number
  /** failed because they killed their workers too often: what max_worker_deaths promises, and no loss */
  killers: number
  /** failed by what a fault did to the server itself: a full disk, a time-out of the role */
  excused: number
  /** failed though nothing was wrong with their SQL, or finished though something was */
  wrong: number
  over_limit: number
  /** runs that began while another run of the same task was going on */
  overlapping: number
  /** runs that began before a delay was over */
  early: number
}

export interface Audit {
  counts: TaskCounts[]
  /** effects under a role that did not enqueue the task */
  foreign: number
  /** what the accounts hold less than they should */
  missingMoney: number
  /** effects that committed together with another's */
  shared: number
  /** most tasks that ran at once, as they themselves saw it: by topic; '' is all */
  most: Record<string, number>
  examples: string[]
}

interface Example extends Row {
  kind: string
  fault: string
  id: bigint
  state: string | null
  effects: bigint
  errors: string | null
}

/** Looks at every effect in the database. `struck`: for what may be excused. */
export async function audit(database: Database, schema: string, struck: Struck[]): Promise<Audit> {
  await database.query(
    `insert into torture.faults select * from unnest($1::text[], $2::timestamptz[], $3::timestamptz[])`,
    [
      struck.map((s) => s.kind),
      struck.map((s) => new Date(s.at).toISOString()),
      struck.map((s) => new Date(s.endedAt).toISOString()),
    ],
  )
  const sections = readSections('audit', schema)
  const ask = <T extends Row>(name: string): Promise<T[]> => database.query<T>(sections.get(name)!)
  const [{ foreign }] = (await ask<{ foreign: number }>('foreign')) as [{ foreign: number }]
  const [{ shared }] = (await ask<{ shared: number }>('shared')) as [{ shared: number }]
  const [{ sum }] = (await ask<{ sum: bigint }>('accounts')) as [{ sum: bigint }]
  const most = await ask<{ topic: string; most: number; most_of_all: number }>('most')
  return {
    counts: await countAll(ask),
    foreign,
    missingMoney: 50_000 - Number(sum),
    shared,
    most: { '': most[0]?.most_of_all ?? 0, ...Object.fromEntries(most.map((row) => [row.topic, row.most])) },
    examples: (await ask<Example>('examples')).map(
      ({ kind, fault, id, state, effects, errors }) =>
        `task ${id} (${kind}, after ${fault}) is ${state ?? 'gone'} with ${effects} effects${errors ? `: ${errors}` : ''}`,
    ),
  }
}

async function countAll(ask: <T extends Row>(name: string) => Promise<T[]>): Promise<TaskCounts[]> {
  const counts = await ask<TaskCounts>('tasks')
  const over = await ask<{ fault: string; over: number }>('limits')
  const doubles = await ask<{ fault: string; doubles: number }>('doubles')
  const gaps = await ask<{ fault: string; early: number }>('gaps')
  return counts.map((row) => ({
    ...row,
    over_limit: over.find((o) => o.fault === row.fault)?.over ?? 0,
    overlapping: doubles.find((d) => d.fault === row.fault)?.doubles ?? 0,
    early: gaps.find((g) => g.fault === row.fault)?.early ?? 0,
  }))
}
