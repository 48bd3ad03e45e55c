import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { onTestFinished } from 'vitest'
import { type CliOptions, environment, RUN } from './cli.js'
import { waitFor } from './wait.js'

/** undefined where terminals can be made here; else why not. */
export function noTerminals(): string | undefined {
  try {
    execFileSync('tmux', ['-V'], { stdio: 'ignore' })
    return undefined
  } catch {
    return 'there is no program "tmux" to make a terminal'
  }
}

/** A real terminal with the real binary in it; the shell behind it says the exit code. */
export interface TestTerminal {
  /** the lines now on the screen */
  lines(): string[]
  /** all that was written, also what has scrolled away; a line that the terminal broke is one */
  written(): string[]
  /** the screen once it shows this */
  shows(what: RegExp): Promise<string[]>
  /** the screen with its escapes for colours */
  colors(): string
  press(...keys: string[]): void
  type(text: string): void
  resize(columns: number, rows: number): void
  /** of pgbq */
  pid(): number
  /** whether the screen is the program's own, with nothing of the shell */
  isAlternate(): boolean
}

export interface TerminalOptions extends CliOptions {
  columns?: number
  rows?: number
}

/** Runs pgbq in a terminal of its own. */
export const openTerminal = (args: string[], options: TerminalOptions): TestTerminal =>
  openShell(
    `${[process.execPath, RUN, ...args].map((a) => `'${a.replaceAll("'", `'\\''`)}'`).join(' ')}; echo "left with $?"`,
    options,
  )

/** Runs a line of the shell in a terminal of its own. */
export function openShell(
  line: string,
  { columns = 80, rows = 24, ...options }: TerminalOptions,
): TestTerminal {
  const socket = `pgbq-test-${process.pid}-${randomBytes(4).toString('hex')}`
  const env = {
    ...environment(options),
    NO_COLOR: undefined,
    TERM: 'xterm-256color',
    LANG: 'C.UTF-8',
    SHELL: '/bin/sh',
  }
  const tmux = (...command: string[]): string =>
    execFileSync('tmux', ['-L', socket, '-f', '/dev/null', ...command], {
      encoding: 'utf8',
      env: { ...env, ...options.env },
    })
  const size = ['-x', String(columns), '-y', String(rows)]
  tmux('new-session', '-d', '-s', 't', ...size, `echo before; ${line}; read -r never`)
  onTestFinished(() => void tmux('kill-server'))
  const lines = () => tmux('capture-pane', '-p', '-t', 't').split('\n')
  return {
    lines,
    written: () =>
      tmux('capture-pane', '-p', '-J', '-S', '-', '-t', 't')
        .split('\n')
        .map((line) => line.trimEnd()),
    shows: (what) =>
      waitFor(`the terminal to show ${what}`, () =>
        what.test(lines().join('\n')) ? lines() : undefined,
      ).catch((error) => {
        throw new Error(`${error.message}; it shows:\n${lines().join('\n')}`)
      }),
    colors: () => tmux('capture-pane', '-p', '-e', '-t', 't'),
    press: (...keys) => void tmux('send-keys', '-t', 't', ...keys),
    type: (text) => void tmux('send-keys', '-t', 't', '-l', text),
    resize: (x, y) => void tmux('resize-window', '-t', 't', '-x', String(x), '-y', String(y)),
    pid: () => childOf(tmux('display-message', '-p', '-t', 't', '#{pane_pid}').trim()),
    isAlternate: () => tmux('display-message', '-p', '-t', 't', '#{alternate_on}').trim() === '1',
  }
}

/** The process that a shell waits for. */
const childOf = (pid: string): number =>
  Number(execFileSync('ps', ['-o', 'pid=', '--ppid', pid], { encoding: 'utf8' }).trim())
