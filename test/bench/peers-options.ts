import { parseArgs } from 'node:util'
import { parseDuration } from '#pgbq/engine/duration'
import { usageError } from '#pgbq/engine/errors'
import type { ChildKillOptions } from './child-kill.js'

export const SYSTEMS = ['pgbq', 'graphile-worker', 'pg-boss'] as const

export interface PeersOptions extends ChildKillOptions {
  systems: string[]
  databaseUrl: string | undefined
  json: boolean
  readme: boolean
}

export const USAGE = `npm run bench:peers -- [flags]

Runs the same SQL tasks by pgbq, graphile-worker and pg-boss, each with its default settings, kills worker
processes at work, and counts what was lost, done twice or left. The others are installed with npm when needed.

  --tasks N            tasks for each system (default: 200)
  --kills N            worker processes to kill, fewer than tasks (default: 10)
  --workers N          worker processes, one task each (default: 4)
  --watch DURATION     how long after the last kill to look for recovery (default: 60s);
                       pg-boss needs 17m, graphile-worker 4h
  --seed N             of the tasks and the kills (default: 1)
  --system NAME        only this one; may be repeated
  --database-url URL   a server where databases may be made (default: an embedded PostgreSQL of its own)
  --json               print the figures as JSON
  --readme             also write the table into README.md`

/** The flags, checked; undefined if help is wanted. Errors: usage errors. */
export function readOptions(args: string[]): PeersOptions | undefined {
  const { values } = parse(args)
  if (values.help) return undefined
  const tasks = count(values.tasks, '--tasks', 2)
  const kills = count(values.kills, '--kills', 0)
  if (kills >= tasks)
    throw usageError('INVALID_VALUE', `Expected fewer kills than ${tasks} tasks, got ${kills}`)
  const systems = values.system ?? [...SYSTEMS]
  const unknown = systems.find((name) => !SYSTEMS.some((known) => known === name))
  if (unknown !== undefined) {
    throw usageError(
      'INVALID_VALUE',
      `Expected --system to be one of ${SYSTEMS.join(', ')}, got "${unknown}"`,
    )
  }
  return {
    tasks,
    kills,
    workers: count(values.workers, '--workers', 1),
    seed: count(values.seed, '--seed', 0),
    watchMs: parseDuration(values.watch, '--watch'),
    systems,
    databaseUrl: values['database-url'],
    json: values.json,
    readme: values.readme,
  }
}

function parse(args: string[]) {
  try {
    return parseArgs({
      args,
      options: {
        tasks: { type: 'string', default: '200' },
        kills: { type: 'string', default: '10' },
        workers: { type: 'string', default: '4' },
        watch: { type: 'string', default: '60s' },
        seed: { type: 'string', default: '1' },
        system: { type: 'string', multiple: true },
        'database-url': { type: 'string' },
        json: { type: 'boolean', default: false },
        readme: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    })
  } catch (error) {
    throw usageError('INVALID_VALUE', (error as Error).message)
  }
}

/** An integer of a flag. Errors: a usage error. */
export function count(text: string, flag: string, least: number): number {
  if (/^\d{1,9}$/.test(text) && Number(text) >= least) return Number(text)
  throw usageError('INVALID_VALUE', `Expected ${flag} to be an integer of at least ${least}, got "${text}"`)
}
