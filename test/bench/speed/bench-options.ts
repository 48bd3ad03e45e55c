import { parseArgs } from 'node:util'
import { usageError } from '#pgbq/engine/errors'
import { count } from '../peers-options.js'

export interface BenchOptions {
  /** scenarios by name */
  only: string[]
  /** they were named by --only, so that there is time for all of each */
  isNamed: boolean
  rounds: number
  scale: number
  slots: number
  /** the size of grouped commits, measured beside single ones */
  group: number
  /** tasks a second of the long run */
  rate: number
  withPeers: boolean
  anySettings: boolean
  json: boolean
  databaseUrl: string | undefined
}

export interface KnownScenario {
  name: string
  about: string
  isLong?: true
}

const usage = (scenarios: KnownScenario[]): string => `npm run bench -- [flags]

Measures how fast pgbq is, beside what bounds it and beside other queues, in turns within one run. What the tasks
wrote is checked: each exactly once. The whole takes about 20 minutes on two cores, for which slow scenarios are
smaller than by --only; the others are installed with npm when needed.

  --only NAME          only this scenario, with all it has; may be repeated
  --rounds N           how often each is measured (default: 3)
  --scale N            times the number of tasks, rows and seconds (default: 1)
  --slots N            workers that run one task each (default: 4)
  --group N            the max_tasks_per_commit of grouped commits (default: 50)
  --rate N             tasks a second of the long run (default: 500), for a machine that cannot keep up with it
  --no-peers           without the other queues
  --database-url URL   a server where databases may be made (default: an embedded PostgreSQL of its own)
  --any-settings       measure even where fsync or synchronous_commit is off; such figures mean nothing
  --json               print the figures as JSON

Scenarios:
${scenarios.map(({ name, about, isLong }) => `  ${name.padEnd(10)} ${about}${isLong ? ' (only by --only)' : ''}`).join('\n')}`

/** The flags, checked; the text of --help if that is wanted. Errors: usage errors. */
export function readBenchOptions(args: string[], scenarios: KnownScenario[]): BenchOptions | string {
  const { values } = parse(args)
  if (values.help) return usage(scenarios)
  const names = scenarios.map(({ name }) => name)
  const unknown = values.only?.find((name) => !names.includes(name))
  if (unknown !== undefined) {
    throw usageError('INVALID_VALUE', `Expected --only to be one of ${names.join(', ')}, got "${unknown}"`)
  }
  return {
    only: values.only ?? scenarios.filter(({ isLong }) => !isLong).map(({ name }) => name),
    isNamed: values.only !== undefined,
    rounds: count(values.rounds, '--rounds', 1),
    scale: parseScale(values.scale),
    slots: count(values.slots, '--slots', 1),
    group: count(values.group, '--group', 2),
    rate: count(values.rate, '--rate', 1),
    withPeers: !values['no-peers'],
    anySettings: values['any-settings'],
    json: values.json,
    databaseUrl: values['database-url'],
  }
}

function parse(args: string[]) {
  try {
    return parseArgs({
      args,
      options: {
        only: { type: 'string', multiple: true },
        rounds: { type: 'string', default: '3' },
        scale: { type: 'string', default: '1' },
        slots: { type: 'string', default: '4' },
        group: { type: 'string', default: '50' },
        rate: { type: 'string', default: '500' },
        'no-peers': { type: 'boolean', default: false },
        'any-settings': { type: 'boolean', default: false },
        'database-url': { type: 'string' },
        json: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    })
  } catch (error) {
    throw usageError('INVALID_VALUE', (error as Error).message)
  }
}

function parseScale(text: string): number {
  if (/^\d+(\.\d+)?$/.test(text) && Number(text) > 0) return Number(text)
  throw usageError('INVALID_VALUE', `Expected --scale to be a number above 0, got "${text}"`)
}
