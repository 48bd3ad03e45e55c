import type { Database } from '../database/database.js'
import { QueueError } from '../errors.js'

export type Level = 'ok' | 'warning' | 'problem'

/** One line of `pgbq doctor`. `fix`: a command, null where all is well. */
export interface Check {
  name: string
  level: Level
  message: string
  fix: string | null
}

/** What the checks of an installed queue look at. */
export interface Patient {
  database: Database
  schema: string
  /** of this program */
  version: string
  /** the embedded server, whose one role is a superuser */
  isPrivateServer: boolean
}

export interface Finding {
  level: Level
  message: string
  fix?: string | undefined
}

export const ok = (message: string): Finding => ({ level: 'ok', message })
export const warning = (message: string, fix: string): Finding => ({ level: 'warning', message, fix })
export const problem = (message: string, fix: string): Finding => ({ level: 'problem', message, fix })

/** Runs one check; several findings are several lines of its name. What it cannot see is a warning. */
export async function check(name: string, look: () => Promise<Finding | Finding[]>): Promise<Check[]> {
  try {
    const found = [await look()].flat()
    return found.map(({ level, message, fix }) => ({ name, level, message, fix: fix ?? null }))
  } catch (error) {
    const { message, code } = error as Error & { code?: string }
    if (error instanceof QueueError && code !== 'NOT_ALLOWED')
      return [{ name, level: 'problem', message, fix: error.hint ?? null }]
    return [{ name, level: 'warning', message: `This could not be looked at: ${message}`, fix: null }]
  }
}

/** `3 workers`, `1 worker` */
export function count(number: number | bigint, noun: string): string {
  return `${number} ${noun}${BigInt(number) === 1n ? '' : 's'}`
}
