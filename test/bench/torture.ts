import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { tortureMarkdown, tortureText } from '#pgbq/output/torture-text'
import { OwnServer } from '#pgbq/torture/own-server'
import type { TortureReport } from '#pgbq/torture/report'
import { torture } from '#pgbq/torture/torture'
import { FAULT_KINDS, type FaultKind } from '#pgbq/torture/types'
import { shortCommit } from './commit.js'
import { PACKAGE_ROOT } from './package-root.js'
import { writeBetweenMarks } from './readme.js'

const USAGE = 'npm run torture -- [--faults 200] [--kills 1000] [--seed 1] [--readme]'

const note = (message: string): void => void process.stderr.write(`${message}\n`)

interface Run {
  title: string
  kinds: readonly FaultKind[]
  rounds: number
  pauseMs: number
}

/** Our own proof: a storm of all kinds of faults, and then so many kills in a row. */
async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      faults: { type: 'string', default: '200' },
      kills: { type: 'string', default: '1000' },
      seed: { type: 'string', default: '1' },
      readme: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) return note(USAGE)
  const stop = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => stop.abort())
  const runs: Run[] = [
    { title: 'Faults of all kinds', kinds: FAULT_KINDS, rounds: Number(values.faults), pauseMs: 400 },
    { title: 'Kills of a worker in a row', kinds: ['child-kill'], rounds: Number(values.kills), pauseMs: 60 },
  ]
  const parts: string[] = []
  for (const run of runs.filter(({ rounds }) => rounds > 0)) {
    const report = await perform(run, Number(values.seed), stop.signal)
    process.stdout.write(`\n${run.title}\n\n${tortureText(report)}\n`)
    if (!report.ok) process.exitCode = 1
    parts.push(
      `${run.title}:\n\n${tortureMarkdown(report, shortCommit(), new Date().toISOString().slice(0, 10))}`,
    )
  }
  if (values.readme) writeBetweenMarks(join(PACKAGE_ROOT, 'README.md'), 'torture', parts.join('\n\n'))
}

async function perform(run: Run, seed: number, signal: AbortSignal): Promise<TortureReport> {
  const own = await OwnServer.start(note)
  try {
    return await torture({
      ...run,
      server: own.target,
      own,
      seed,
      tasksPerSecond: 30,
      signal,
      onStage: note,
      onStrike: ({ kind, detail }, round) => note(`${round} of ${run.rounds}: ${kind}, ${detail}`),
    })
  } finally {
    await own.destroy()
  }
}

try {
  await main()
} catch (error) {
  note((error as Error).message)
  process.exitCode = 1
}
