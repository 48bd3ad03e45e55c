import { BaseCommand } from '../base-command.js'
import { type DemoReport, runDemo } from '../demo/demo.js'
import { Interrupt } from '../demo/interrupt.js'
import chalk from '../output/color.js'
import { sayDuration } from '../output/duration.js'
import { Screen } from '../output/screen.js'
import { statusText } from '../output/status-text.js'

const INTRODUCTION =
  'A queue of SQL statements inside PostgreSQL, shown on a small shop. About 15 s; Ctrl-C stops it.\n'

export default class Demo extends BaseCommand {
  static override summary = 'see the queue at work on the embedded PostgreSQL'
  static override description =
    'Builds a small shop in the database "pgbq_demo", enqueues real work over three topics, runs it, and checks every effect in the database; exit 1 if one is missing. Each run begins anew. Another server is used only if --database-url names it.'
  static override examples = [
    '<%= config.bin %> <%= command.id %>',
    '<%= config.bin %> <%= command.id %> --json',
    '<%= config.bin %> <%= command.id %> --database-url postgresql://postgres@localhost/postgres',
  ]

  async run(): Promise<void> {
    const { flags } = await this.parse(Demo)
    const { target } = await this.findTarget({ ...flags, embedded: flags['database-url'] === undefined })
    const screen = new Screen(process.stderr)
    screen.line(INTRODUCTION)
    const interrupt = new Interrupt()
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const)
      process.on(signal, () => interrupt.request(signal))
    const report = await runDemo({
      server: target,
      schema: flags.schema,
      version: this.config.version,
      screen,
      interrupt,
    })
    this.print(toRecord(report), reportText(report))
    if (!this.wantsJson) this.note(nextSteps(report))
    if (report.checks.some((check) => !check.ok)) process.exitCode = 1
  }
}

function toRecord({ tasks, checks, duration_ms, status, url }: DemoReport) {
  return {
    tasks,
    checks: checks.map(({ name, ok, message }) => ({ name, ok, message })),
    duration_ms,
    status,
    url,
  }
}

function reportText({ checks, status, duration_ms }: DemoReport): string {
  const lines = checks.map(({ ok, title, message }) => {
    const mark = ok ? chalk.green('✓') : chalk.red('✗')
    return `   ${mark} ${title.padEnd(26)} ${chalk.dim(message)}`
  })
  const wrong = checks.filter((check) => !check.ok).length
  const verdict =
    wrong === 0
      ? chalk.green(`All ${checks.length} effects are there`)
      : chalk.red(`${wrong} of ${checks.length} effects are missing`)
  return `${lines.join('\n')}\n\n${verdict}, after ${sayDuration(duration_ms / 1000)}. What "pgbq status" says now:\n\n${statusText(status)}`
}

/** Three commands on the demo's database, as this program was called. */
function nextSteps({ url, tasks }: DemoReport): string {
  const program = process.env.npm_lifecycle_event === 'demo' ? 'node bin/run.js' : 'pgbq'
  const retried = tasks.find((task) => task.retry_count > 0)
  const commands = [
    [`status ${retried?.id ?? 1}`, 'the task that needed three attempts'],
    [`enqueue 'VACUUM shop.carts' --topic maintenance`, 'one more task'],
    ['work --drain', 'run what waits'],
  ]
  return [
    '\nTry next, on the same database:',
    ...(url === undefined ? [] : [`  export PGBQ_DATABASE_URL='${url}'`]),
    ...commands.map(([command, why]) => `  ${`${program} ${command}`.padEnd(program.length + 50)} # ${why}`),
  ].join('\n')
}
