import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { onTestFinished } from 'vitest'
import { PASSWORD } from './names.js'
import { waitFor } from './wait.js'

export const RUN = fileURLToPath(new URL('../../bin/run.js', import.meta.url))

/** An empty home with a .pgpass for the test roles, so that no setting of this machine reaches a test. */
const HOME = mkdtempSync(join(tmpdir(), 'pgbq-home-'))
const PGPASSFILE = join(HOME, '.pgpass')
writeFileSync(PGPASSFILE, `*:*:*:*:${PASSWORD}\n`, { mode: 0o600 })

export interface CliOptions {
  url?: string | undefined
  env?: Record<string, string | undefined>
  input?: string
  cwd?: string
}

export interface CliResult {
  code: number | null
  stdout: string
  stderr: string
  /** stdout as JSON */
  json: any
}

export function environment({ url, env }: CliOptions): NodeJS.ProcessEnv {
  const base: NodeJS.ProcessEnv = {
    PATH: process.env.PATH,
    HOME,
    PGPASSFILE,
    NO_COLOR: '1',
    USER: process.env.USER ?? 'root',
  }
  return { ...base, ...(url === undefined ? {} : { DATABASE_URL: url }), ...env }
}

/** Runs the real binary to its end. */
export async function pgbq(args: string[], options: CliOptions = {}): Promise<CliResult> {
  const child = spawn(process.execPath, [RUN, ...args], {
    env: environment(options),
    cwd: options.cwd ?? HOME,
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  child.stdin.on('error', () => undefined)
  child.stdin.end(options.input ?? '')
  const output = collect(child)
  const code = await new Promise<number | null>((resolve) => child.on('close', resolve))
  return {
    code,
    ...output(),
    get json() {
      return JSON.parse(output().stdout)
    },
  }
}

/** A process that runs beside the test and is ended with it. */
export interface Spawned {
  readonly child: ChildProcess
  stdout(): string
  stderr(): string
  /** resolves with the exit code */
  exit(): Promise<number | null>
}

export function spawnPgbq(args: string[], options: CliOptions = {}): Spawned {
  const child = spawn(process.execPath, [RUN, ...args], {
    env: environment(options),
    cwd: HOME,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const output = collect(child)
  const exited = new Promise<number | null>((resolve) => child.on('close', resolve))
  onTestFinished(async () => {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL')
    await exited
  })
  return { child, stdout: () => output().stdout, stderr: () => output().stderr, exit: () => exited }
}

/** A supervisor that runs beside the test and is ended with it. */
export interface RunningWork {
  readonly pid: number
  readonly child: ChildProcess
  /** events printed so far */
  events(): WorkEvent[]
  /** the first event that fits, waited for */
  event(fits: (event: WorkEvent) => boolean, timeoutMs?: number): Promise<WorkEvent>
  /** resolves with the exit code */
  exit(): Promise<number | null>
  stderr(): string
}

export type WorkEvent = { time: string; event: string } & Record<string, any>

/** Starts `pgbq work --json` and waits until it is ready, unless told not to. */
export async function startWork(
  args: string[],
  options: CliOptions & { isReadyAwaited?: boolean } = {},
): Promise<RunningWork> {
  const { child, stdout, stderr, exit } = spawnPgbq(['work', '--json', ...args], options)
  const events = (): WorkEvent[] =>
    stdout()
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line) as WorkEvent)
  const work: RunningWork = {
    pid: child.pid!,
    child,
    events,
    event: (fits, timeoutMs) => waitFor('an event of pgbq work', () => events().find(fits), timeoutMs),
    exit,
    stderr,
  }
  if (options.isReadyAwaited !== false) {
    await waitFor('pgbq work to be ready', () => {
      if (child.exitCode !== null)
        throw new Error(`pgbq work left with ${child.exitCode}: ${stdout()}${stderr()}`)
      return events().some((e) => e.event === 'ready')
    })
  }
  return work
}

function collect(child: ChildProcess): () => { stdout: string; stderr: string } {
  const output = { stdout: '', stderr: '' }
  child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
    output.stdout += chunk
  })
  child.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
    output.stderr += chunk
  })
  return () => output
}
