import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'

/** A living process. `started` tells it from a later process with the same pid. */
export interface LivingProcess {
  started: string
  /** Its arguments, joined by blanks. */
  command: string
}

const HAS_PROC = existsSync('/proc/self/stat')

/** The living process with this pid; a zombie has ended, so it is not one. */
export function findProcess(pid: number): LivingProcess | undefined {
  try {
    return HAS_PROC ? fromProc(pid) : fromPs(pid)
  } catch {
    return undefined
  }
}

/** Fields of /proc/pid/stat after the name in brackets: the state first, the start time twentieth (proc(5)). */
function fromProc(pid: number): LivingProcess | undefined {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  if (fields[0] === 'Z' || fields[0] === 'X') return undefined
  const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')
  return { started: fields[19] ?? '', command }
}

/** For systems without /proc, such as macOS: `S+   Mon Nov 24 10:00:00 2025 command …`. */
export function fromPs(pid: number): LivingProcess | undefined {
  const columns = ['-ww', '-o', 'stat=', '-o', 'lstart=', '-o', 'command=', '-p', String(pid)]
  const line = execFileSync('ps', columns, {
    encoding: 'utf8',
    env: { ...process.env, LC_ALL: 'C' },
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  const [, state = 'Z', started = '', command = ''] =
    /^\s*(\S+)\s+(\S+\s+\S+\s+\S+\s+\S+\s+\S+)\s(.*)$/m.exec(line) ?? []
  return state.startsWith('Z') ? undefined : { started, command: `${command.trim()} ` }
}
