import { existsSync, readFileSync } from 'node:fs'

/** What Linux tells of a process; elsewhere nothing can be known. */
export const canReadUsage = existsSync('/proc/self/smaps_rollup')

/** In MB. pss: memory shared with others counted in parts. peak: the most that rss ever was. */
export interface Memory {
  rss: number
  pss: number
  peak: number
}

export function memoryOf(pid: number): Memory {
  const of = (file: string, name: string): number =>
    Number(
      new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(readFileSync(`/proc/${pid}/${file}`, 'utf8'))?.[1],
    ) / 1024
  return { rss: of('status', 'VmRSS'), pss: of('smaps_rollup', 'Pss'), peak: of('status', 'VmHWM') }
}

export function childrenOf(pid: number): number[] {
  const listed = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8')
  return listed.trim().split(' ').filter(Boolean).map(Number)
}

/** Linux counts in hundredths: https://man7.org/linux/man-pages/man7/time.7.html */
const TICKS_A_SECOND = 100

/** Seconds of processor time that a process has had. */
export function cpuSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ')
  return (Number(fields[11]) + Number(fields[12])) / TICKS_A_SECOND
}
