import { Gauge, type Registry } from 'prom-client'
import type { Picture, WatchedTopic } from '../watch/picture.js'
import { OTHER_TOPICS, type TopicLabels } from './topic-labels.js'

/** The state of the whole queue at one look; the same from every supervisor of it. */
export class QueueMetrics {
  private readonly labels: TopicLabels
  private readonly tasks: Gauge<'topic' | 'state'>
  private readonly oldest: Gauge<'topic'>
  private readonly limit: Gauge<'topic'>
  private othersDue = 0

  constructor(registry: Registry, labels: TopicLabels) {
    this.labels = labels
    const registers = [registry]
    this.tasks = new Gauge({
      name: 'pgbq_tasks',
      help: 'Tasks of the whole queue. Running: exact. Waiting: exact up to 10000 of them. More, and closed ones in a table above 8 MB: estimated from a sample.',
      labelNames: ['topic', 'state'],
      registers,
    })
    this.oldest = new Gauge({
      name: 'pgbq_oldest_due_age_seconds',
      help: 'For how long the oldest due task has waited, 0: none is due. Exact up to 10000 that wait; beyond that the largest is, with at most 1000 different priorities, and a topic without limits of its own may have an older one.',
      labelNames: ['topic'],
      registers,
    })
    this.limit = new Gauge({
      name: 'pgbq_topic_limit',
      help: 'Tasks of a topic that may run at once, 0 while it is paused.',
      labelNames: ['topic'],
      registers,
    })
  }

  /** undefined: nothing is known now, which is shown as such rather than as old news. */
  show(picture: Picture | undefined): void {
    this.othersDue = 0
    for (const gauge of [this.tasks, this.oldest, this.limit]) gauge.reset()
    for (const topic of [...(picture?.topics ?? [])].sort(byUrgency)) this.add(topic)
  }

  /** Topics that have no name of their own are added up. */
  private add({ topic: name, states, due, limit, paused }: WatchedTopic): void {
    const topic = this.labels.of(name)
    for (const [state, { count }] of Object.entries(states)) this.tasks.inc({ topic, state }, count)
    if (topic === OTHER_TOPICS) {
      this.othersDue = Math.max(this.othersDue, due ?? 0)
      this.oldest.set({ topic }, this.othersDue)
    } else {
      this.oldest.set({ topic }, due ?? 0)
      this.limit.set({ topic }, paused ? 0 : limit)
    }
  }
}

const openTasks = ({ states: { pending, running, retrying } }: WatchedTopic): number =>
  pending.count + running.count + retrying.count
const allTasks = ({ states }: WatchedTopic): number =>
  Object.values(states).reduce((sum, { count }) => sum + count, 0)

/** An alert should have the name of what it is about; then what somebody waits for. */
const byUrgency = (a: WatchedTopic, b: WatchedTopic): number =>
  (b.due ?? 0) - (a.due ?? 0) || openTasks(b) - openTasks(a) || allTasks(b) - allTasks(a)
