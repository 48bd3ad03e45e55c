import { Counter, Gauge, Histogram, type Registry } from 'prom-client'
import type { QueueEvent } from '../events.js'
import type { TopicLabels } from './topic-labels.js'

const OUTCOMES = ['finished', 'failed', 'retrying', 'cancelled', 'released'] as const

/** From a statement that finds one row by its key to a nightly rebuild. */
const DURATION_SEC = [0.005, 0.025, 0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 14_400]
/** From a worker that is woken at once to a backlog of hours. */
const PICKUP_SEC = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, 15, 60, 300, 1800, 7200]

/** What this supervisor and its workers do, counted from the supervisor's events. */
export class RunMetrics {
  private readonly labels: TopicLabels
  private readonly runs: Counter<'topic' | 'outcome'>
  private readonly duration: Histogram<'topic'>
  private readonly pickup: Histogram<'topic'>
  private readonly rescues: Counter
  /** whether each runs a task */
  private readonly workers = new Map<bigint, boolean>()

  constructor(registry: Registry, labels: TopicLabels) {
    this.labels = labels
    const registers = [registry]
    const topic = ['topic'] as const
    this.runs = new Counter({
      name: 'pgbq_task_runs_total',
      help: 'Runs of tasks by this supervisor that ended, by outcome. A run whose worker died is among the rescues.',
      labelNames: ['topic', 'outcome'],
      registers,
    })
    this.duration = new Histogram({
      name: 'pgbq_task_duration_seconds',
      help: 'How long runs of tasks took, whatever their outcome.',
      labelNames: topic,
      buckets: DURATION_SEC,
      registers,
    })
    this.pickup = new Histogram({
      name: 'pgbq_pickup_latency_seconds',
      help: 'From when a task was due (its enqueue, run_at or retry) to its claim; also waits for limits and, after a rescue or release, the run before.',
      labelNames: topic,
      buckets: PICKUP_SEC,
      registers,
    })
    this.rescues = new Counter({
      name: 'pgbq_rescues_total',
      help: 'Tasks that this supervisor took back from workers that had died.',
      registers,
    })
    this.addWorkers(registry)
  }

  private addWorkers(registry: Registry): void {
    const { workers } = this
    new Gauge({
      name: 'pgbq_workers',
      help: 'Workers of this supervisor, idle or running a task.',
      labelNames: ['state'],
      registers: [registry],
      collect() {
        const running = [...workers.values()].filter(Boolean).length
        this.set({ state: 'running' }, running)
        this.set({ state: 'idle' }, workers.size - running)
      },
    })
  }

  note(event: QueueEvent): void {
    switch (event.event) {
      case 'worker_started':
        this.workers.set(event.workerId, false)
        return
      case 'worker_gone':
        if (event.workerId !== null) this.workers.delete(event.workerId)
        return
      case 'claimed':
        this.noteClaim(event)
        return
      case 'finished':
      case 'failed':
      case 'retrying':
      case 'cancelled':
      case 'released':
        this.noteEnd(event)
        return
      case 'rescued':
        this.rescues.inc(event.taskIds.length)
    }
  }

  private noteClaim({ task, workerId }: QueueEvent & { event: 'claimed' }): void {
    const topic = this.labels.of(task.topic)
    this.workers.set(workerId, true)
    // a counter that appears at 1 has no rate: the first failure would go unseen
    for (const outcome of OUTCOMES) this.runs.inc({ topic, outcome }, 0)
    if (task.waitedMs !== null) this.pickup.observe({ topic }, Math.max(0, task.waitedMs / 1000))
  }

  private noteEnd(event: QueueEvent & { event: (typeof OUTCOMES)[number] }): void {
    const topic = this.labels.of(event.task.topic)
    if (this.workers.has(event.workerId)) this.workers.set(event.workerId, false)
    this.runs.inc({ topic, outcome: event.event })
    this.duration.observe({ topic }, event.durationMs / 1000)
  }
}
