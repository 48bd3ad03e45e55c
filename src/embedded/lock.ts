import { linkSync, mkdirSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { QueueError } from '../engine/errors.js'
import { findProcess } from './process-table.js'

/**
 * A lock between processes that outlives no holder. The folder holds numbered tickets; the newest one counts.
 * It names its holder, or is empty: released. Whoever finds it free or its holder dead makes the next number,
 * which only one can. Numbers only grow, so nobody can take away by mistake what a third one has just taken,
 * which is the race of every lock file that is deleted when stale.
 */
export async function withLock<T>(folder: string, onWait: () => void, action: () => Promise<T>): Promise<T> {
  const ticket = await takeTicket(folder, onWait)
  try {
    return await action()
  } finally {
    release(ticket)
  }
}

const WAIT_LIMIT_MS = 120_000

async function takeTicket(folder: string, onWait: () => void): Promise<string> {
  const deadline = Date.now() + WAIT_LIMIT_MS
  for (let waits = 0; ; ) {
    mkdirSync(folder, { recursive: true, mode: 0o755 })
    const newest = newestNumber(folder)
    if (isFree(join(folder, String(newest)))) {
      if (makeTicket(folder, newest + 1)) return join(folder, String(newest + 1))
      continue
    }
    if (waits++ === 0) onWait()
    if (Date.now() > deadline) throw busy(join(folder, String(newest)))
    await sleep(20)
  }
}

function newestNumber(folder: string): number {
  return Math.max(0, ...readdirSync(folder).map(Number).filter(Number.isInteger))
}

/** A missing ticket is free too: the attempt to make the next one then finds the newer one that replaced it. */
function isFree(ticket: string): boolean {
  const holder = readHolder(ticket)
  return holder === undefined || findProcess(holder.pid)?.started !== holder.started
}

function readHolder(ticket: string): { pid: number; started: string } | undefined {
  try {
    return JSON.parse(readFileSync(ticket, 'utf8'))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EACCES') throw error
    return undefined // empty, or gone
  }
}

/** Links a complete file into place, so that no ticket is ever seen half written. */
function makeTicket(folder: string, number: number): boolean {
  const draft = join(folder, `draft-${process.pid}-${Math.random().toString(36).slice(2)}`)
  const ticket = join(folder, String(number))
  try {
    writeFileSync(draft, JSON.stringify({ pid: process.pid, started: findProcess(process.pid)?.started }))
    linkSync(draft, ticket)
  } catch (error) {
    if (isLostRace(error)) return false
    throw error
  } finally {
    rmSync(draft, { force: true })
  }
  return keepIfNewest(folder, number)
}

/** EEXIST: another was first. ENOENT: the new holder swept our draft, or the folder went with a destroy. */
function isLostRace(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException).code
  return code === 'EEXIST' || code === 'ENOENT'
}

function keepIfNewest(folder: string, number: number): boolean {
  if (newestNumber(folder) > number) {
    rmSync(join(folder, String(number)), { force: true })
    return false
  }
  for (const name of readdirSync(folder)) {
    if (!(Number(name) >= number)) rmSync(join(folder, name), { force: true })
  }
  return true
}

function release(ticket: string): void {
  try {
    truncateSync(ticket)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
}

function busy(ticket: string): QueueError {
  const pid = readHolder(ticket)?.pid
  const message = `The embedded PostgreSQL has been held by pid ${pid} for ${WAIT_LIMIT_MS / 1000} s`
  return new QueueError('EMBEDDED_BUSY', message, { hint: `see what that process does: ps -fp ${pid}` })
}
