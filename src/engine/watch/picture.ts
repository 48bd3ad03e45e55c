import { effectiveLimits, type TopicLimits } from '../settings.js'
import { type Ends, HISTORY_SEC, History, OVERLAP_SEC } from './history.js'
import type { Count, Look, State, TaskInFull, WatchedTask, WatchedWorker } from './look.js'

export interface Tally {
  count: number
  isEstimate: boolean
}

export type States = Record<State, Tally>

export interface WatchedTopic extends TopicLimits {
  topic: string | null
  states: States
  /** for how long its oldest due task has waited */
  due: number | null
  ends: Ends
}

/** What a person watching sees: all of one look, and what was kept of earlier ones. */
export interface Picture {
  now: number
  queue: TopicLimits
  topics: WatchedTopic[]
  states: States
  due: number | null
  ends: Ends
  supervisors: number
  workers: WatchedWorker[]
  tasks: WatchedTask[]
  task: TaskInFull | null
  /** where closed tasks are estimated: from so many percent of the blocks, so many seconds ago */
  sample: { percent: number; ageSec: number } | undefined
}

/** A table of so many blocks (8 MB) is counted at every look; of a larger one a sample is, more seldom. */
const COUNTED_BLOCKS = 1000
const SAMPLE_BLOCKS = 2000
const SAMPLE_EVERY_SEC = 15

const OPEN: State[] = ['pending', 'running', 'retrying']
const ALL: State[] = [...OPEN, 'failed', 'finished', 'cancelled']

/** Makes pictures of looks, and says what the next look has to read. */
export class Painter {
  private readonly history = new History()
  private sample: { counts: Count[]; percent: number; at: number } | undefined
  private lastAt: number | undefined
  private blocks: number | undefined
  private nextPercent = 0

  /** What the next look has to read: closings since the last one, `lostSec` before it is asked, and a sample if due. */
  demand(lostSec: number): { sec: number; percent: number } {
    this.nextPercent = this.samplePercent()
    const sec = this.lastAt === undefined ? HISTORY_SEC : Math.min(HISTORY_SEC, OVERLAP_SEC + lostSec)
    return { sec: sec + 2, percent: this.nextPercent }
  }

  /** Whether the numbers of closed tasks are still to come. */
  get isUnsampled(): boolean {
    return this.sample === undefined
  }

  private samplePercent(): number {
    if (this.blocks === undefined) return 0
    if (this.blocks <= COUNTED_BLOCKS) return 100
    const isDue = this.sample === undefined || this.lastAt! - this.sample.at >= SAMPLE_EVERY_SEC
    return isDue ? Math.min(50, (100 * SAMPLE_BLOCKS) / this.blocks) : 0
  }

  paint(look: Look): Picture {
    this.history.add(look)
    this.lastAt = look.now
    this.blocks = look.blocks
    if (this.nextPercent > 0) this.sample = { counts: look.sample, percent: this.nextPercent, at: look.now }
    const limits = effectiveLimits(look.lanes)
    const topics = this.topics(look, limits)
    return {
      now: look.now,
      queue: limits.queue,
      topics,
      states: total(topics),
      due: topics.reduce<number | null>((due, t) => (t.due === null ? due : Math.max(due ?? 0, t.due)), null),
      ends: this.history.ends(look.now),
      supervisors: look.supervisors,
      workers: look.workers,
      tasks: look.tasks,
      task: look.task,
      sample:
        this.sample && this.sample.percent < 100
          ? { percent: this.sample.percent, ageSec: look.now - this.sample.at }
          : undefined,
    }
  }

  private topics(look: Look, { queue, topics }: ReturnType<typeof effectiveLimits>): WatchedTopic[] {
    const exact = index(look.counts)
    const sampled = index(this.sample?.counts ?? [])
    const oldest = new Map(look.oldest.map(({ topic, due }) => [topic, due]))
    const found = [...exact.keys(), ...sampled.keys(), ...oldest.keys()]
    const names = new Set([...topics.keys(), ...found, ...this.history.topics()])
    return [...names]
      .sort((a, b) => byName.compare(a ?? '', b ?? ''))
      .map((topic) => ({
        topic,
        ...(topics.get(topic) ?? queue),
        ...this.numbers(exact.get(topic), sampled.get(topic), look.isWaitingWhole, oldest.get(topic)),
        ends: this.history.ends(look.now, topic),
      }))
  }

  /** Waiting and running tasks are counted, unless too many wait; everything else is what the sample says. */
  private numbers(
    exact: ByState | undefined,
    sampled: ByState | undefined,
    isWaitingWhole: boolean,
    oldest?: number,
  ) {
    const percent = this.sample?.percent ?? 100
    const isCounted = (state: State) => state === 'running' || (isWaitingWhole && OPEN.includes(state))
    const number = (state: State): Tally => {
      if (isCounted(state)) return { count: exact?.get(state)?.count ?? 0, isEstimate: false }
      const count = Math.round(((sampled?.get(state)?.count ?? 0) * 100) / percent)
      return { count, isEstimate: percent < 100 }
    }
    const counted = [...((isWaitingWhole ? exact : sampled)?.values() ?? [])]
    const dues = [...counted.map((c) => c.due), oldest].flatMap((due) => due ?? [])
    return {
      states: Object.fromEntries(ALL.map((state) => [state, number(state)])) as States,
      due: dues.length === 0 ? null : Math.max(...dues),
    }
  }
}

/** topic 2 before topic 10 */
const byName = new Intl.Collator(undefined, { numeric: true })

type ByState = Map<State, Count>

function index(counts: Count[]): Map<string | null, ByState> {
  const byTopic = new Map<string | null, ByState>()
  for (const count of counts)
    byTopic.set(count.topic, (byTopic.get(count.topic) ?? new Map()).set(count.state, count))
  return byTopic
}

function total(topics: WatchedTopic[]): States {
  const sum = (state: State): Tally => ({
    count: topics.reduce((n, t) => n + t.states[state].count, 0),
    isEstimate: topics.some((t) => t.states[state].isEstimate),
  })
  return Object.fromEntries(ALL.map((state) => [state, sum(state)])) as States
}
