import { setTimeout as sleep } from 'node:timers/promises'
import type { Arena } from './arena.js'
import type { Random } from './random.js'

const BATCH_EVERY_MS = 200
/** No more is enqueued while so many wait: a slow machine is not to be drowned. */
const MOST_WAITING = 300
/** As many as each can take at its limit. */
const TOPICS = [
  ...Array(12).fill('free'),
  ...Array(5).fill('pair'),
  ...Array(2).fill('single'),
  ...Array(10).fill('grouped'),
  'delayed',
] as string[]
const KINDS = [
  ...Array(10).fill('plain'),
  ...Array(6).fill('transfer'),
  ...Array(2).fill('autocommit'),
  'failing',
  'flaky',
  'deferred',
] as string[]

/** Enqueues tasks of every kind, a batch at a time, each batch in one transaction. */
export class Workload {
  /** what struck last: each task is counted to it */
  fault = 'calm'
  enqueued = 0
  private readonly arena: Arena
  private readonly random: Random
  private readonly perSecond: number

  constructor(arena: Arena, random: Random, perSecond: number) {
    this.arena = arena
    this.random = random
    this.perSecond = perSecond
  }

  /** Until aborted. A batch that the server refused or lost is not made up for: what was committed counts. */
  async flow(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.batch().catch(() => undefined)
      await sleep(BATCH_EVERY_MS, undefined, { signal }).catch(() => undefined)
    }
  }

  private async batch(): Promise<void> {
    const [{ waiting }] = (await this.arena.ask<{ waiting: number }>(
      `select count(*)::integer as waiting from pg_background_tasks where state in ('pending', 'retrying')`,
    )) as [{ waiting: number }]
    if (waiting > MOST_WAITING) return
    const count = Math.max(1, Math.round((this.perSecond * BATCH_EVERY_MS) / 1000))
    const isApps = this.arena.appLine !== undefined && this.random.next() < 0.3
    const tasks = Array.from({ length: count }, () => this.task(isApps))
    await (isApps ? this.arena.appLine! : this.arena.line).query(
      `select count(torture.enqueue(k, t, ms, $4)) from unnest($1::text[], $2::text[], $3::float8[]) as u(k, t, ms)`,
      [tasks.map((t) => t.kind), tasks.map((t) => t.topic), tasks.map((t) => t.ms), this.fault],
    )
    this.enqueued += count
  }

  private task(isApps: boolean): { kind: string; topic: string; ms: number } {
    const kind = this.random.pick(KINDS)
    // only an owner may vacuum
    const own = isApps && kind === 'autocommit' ? 'trespass' : kind
    const isLong = this.random.next() < 0.08
    const topic = this.random.pick(TOPICS)
    const ms = this.random.integer(5, isLong ? 1500 : 80)
    // short ones, for long ones have their commit to themselves
    return { kind: own, topic, ms: topic === 'grouped' && !isLong ? ms / 40 : ms }
  }

  /** One long task now, for a fault that wants something to strike. */
  async enqueueLong(ms: number): Promise<bigint> {
    const [row] = await this.arena.ask<{ id: bigint }>(
      `select torture.enqueue('plain', 'free', $1, $2) as id`,
      [ms, this.fault],
    )
    this.enqueued++
    return row!.id
  }
}
