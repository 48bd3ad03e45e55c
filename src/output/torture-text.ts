import type { FaultReport, TortureReport } from '../torture/report.js'
import chalk from './color.js'
import { sayDuration } from './duration.js'
import { renderTable } from './table.js'

const HEAD = [
  'fault',
  'times',
  'tasks',
  'lost',
  'twice',
  'stuck',
  'over limit',
  'wrong end',
  'again after p50',
  'p95',
  'max',
]

/** A table of the faults, what the tasks saw, and each broken promise. */
export function tortureText(report: TortureReport): string {
  const { tasks, most_at_once, broken } = report
  const skipped = report.faults.filter((f) => f.skipped !== null)
  const apart = tasks.failed_by_max_worker_deaths + tasks.failed_by_fault
  return [
    renderTable(
      HEAD,
      report.faults
        .filter((f) => f.skipped === null)
        .map((f) => cells(f).map((cell, i) => (i > 2 && i < 8 && cell !== '0' ? chalk.red(cell) : cell))),
    ),
    ...skipped.map((f) => `skipped ${f.fault}: ${f.skipped}`),
    '',
    `${tasks.enqueued} tasks, ${tasks.finished} finished; ${report.injected} faults in ${sayDuration(report.duration_sec)}; seed ${report.seed}`,
    `most at once: ${Object.entries(most_at_once)
      .map(([topic, most]) => `${topic || 'all'} ${most}`)
      .join(', ')}`,
    ...(apart > 0
      ? [
          `apart: ${tasks.failed_by_max_worker_deaths} tasks failed by max_worker_deaths, ${tasks.failed_by_fault} by a full disk or a time-out of their role`,
        ]
      : []),
    ...broken.map((promise) => chalk.red(`✗ ${promise}`)),
    broken.length === 0
      ? chalk.green('✓ every promise was kept')
      : chalk.red(`${broken.length} promises were broken`),
  ].join('\n')
}

function cells(fault: FaultReport): string[] {
  const { p50_sec, p95_sec, max_sec } = fault.recovery
  const counts = [
    fault.injected,
    fault.tasks,
    fault.lost,
    fault.duplicated + fault.overlapping,
    fault.stuck,
    fault.over_limit + fault.early,
    fault.failed_wrongly,
  ]
  const times = [p50_sec, p95_sec, max_sec].map((sec) => (sec === null ? '' : sayDuration(sec)))
  return [fault.fault, ...counts.map(String), ...times]
}

/** The same table for a README. */
export function tortureMarkdown(report: TortureReport, commit: string, date: string): string {
  const row = (list: string[]): string => `| ${list.join(' | ')} |`
  const done = report.faults.filter((f) => f.skipped === null && f.injected > 0)
  const skipped = report.faults.filter((f) => f.skipped !== null)
  return [
    row(HEAD),
    row(HEAD.map(() => '---')),
    ...done.map((fault) => row(cells(fault))),
    '',
    `${report.injected} faults against ${report.tasks.enqueued} tasks in ${sayDuration(report.duration_sec)}; seed ${report.seed}, commit ${commit}, ${date}. ${report.tasks.failed_by_max_worker_deaths} tasks that lost their worker three times were failed for it, ${report.tasks.failed_by_fault} failed by a full disk or a time-out of their role. ${report.ok ? 'Every promise was kept.' : `Broken: ${report.broken.join('; ')}.`}`,
    ...skipped.map((f) => `Not run: ${f.fault} (${f.skipped}).`),
  ].join('\n')
}
