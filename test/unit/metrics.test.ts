import { Registry } from 'prom-client'
import { beforeEach, describe, expect, test, vi } from 'vitest'
import type { FoundConfig } from '../../src/engine/config-file.js'
import { chooseMetrics } from '../../src/engine/metrics/choice.js'
import { Health } from '../../src/engine/metrics/health.js'
import { QueueMetrics } from '../../src/engine/metrics/queue-metrics.js'
import { RunMetrics } from '../../src/engine/metrics/run-metrics.js'
import { MOST_TOPICS, OTHER_TOPICS, TopicLabels } from '../../src/engine/metrics/topic-labels.js'
import type { Picture, WatchedTopic } from '../../src/engine/watch/picture.js'

let registry: Registry
beforeEach(() => {
  registry = new Registry()
})

const claimed = (topic: string | null, waitedMs: number | null = 10) => ({
  event: 'claimed' as const,
  workerId: 1n,
  task: { id: 1n, token: '', topic, attempt: 1, timeoutInSec: null, waitedMs },
})
const ended = (topic: string | null, event: 'finished' | 'released' = 'finished') =>
  event === 'finished'
    ? { ...claimed(topic), event, durationMs: 20, rows: null, tag: null }
    : { ...claimed(topic), event, durationMs: 20 }

async function samples(name: string): Promise<Record<string, number>> {
  const text = await registry.getSingleMetricAsString(name)
  const lines = text.split('\n').filter((line) => !line.startsWith('#'))
  return Object.fromEntries(
    lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.split(' ').at(-1))]),
  )
}

const topic = (name: string | null, waiting: number, due: number | null, more = {}): WatchedTopic => {
  const zero = { count: 0, isEstimate: false }
  const states = { pending: { count: waiting, isEstimate: false }, running: zero, retrying: zero }
  const closed = { failed: zero, finished: zero, cancelled: zero }
  const ends = { finished: [], failed: [] }
  return {
    topic: name,
    states: { ...states, ...closed },
    due,
    ends,
    limit: 4,
    delay_in_sec: 0,
    paused: false,
    ...more,
  }
}
const picture = (...topics: WatchedTopic[]) => ({ topics }) as Picture

describe('topics', () => {
  test('beyond the first hundred are one, and the first keep their names', async () => {
    const runs = new RunMetrics(registry, new TopicLabels())
    for (let round = 0; round < 2; round++)
      for (let n = 0; n < MOST_TOPICS + 20; n++) runs.note(ended(`topic ${n}`))
    const counts = await samples('pgbq_task_runs_total')
    expect(Object.keys(counts)).toHaveLength(MOST_TOPICS + 1)
    expect(counts['pgbq_task_runs_total{topic="topic 0",outcome="finished"}']).toBe(2)
    expect(counts[`pgbq_task_runs_total{topic="${OTHER_TOPICS}",outcome="finished"}`]).toBe(40)
  })

  test('that wait the longest get their names first; the rest is added up', async () => {
    const queue = new QueueMetrics(registry, new TopicLabels())
    const many = Array.from({ length: MOST_TOPICS + 1 }, (_, n) => topic(`topic ${n}`, 5, n))
    queue.show(picture(...many, topic('starved', 1, 5000), topic('empty', 0, null)))
    const dues = await samples('pgbq_oldest_due_age_seconds')
    expect(dues['pgbq_oldest_due_age_seconds{topic="starved"}']).toBe(5000)
    expect(dues[`pgbq_oldest_due_age_seconds{topic="${OTHER_TOPICS}"}`]).toBe(1)
    const tasks = await samples('pgbq_tasks')
    expect(tasks[`pgbq_tasks{topic="${OTHER_TOPICS}",state="pending"}`]).toBe(10)
    expect(await samples('pgbq_topic_limit')).not.toHaveProperty(`pgbq_topic_limit{topic="${OTHER_TOPICS}"}`)
  })

  test('that are paused have the limit 0', async () => {
    const queue = new QueueMetrics(registry, new TopicLabels())
    queue.show(picture(topic(null, 1, 1), topic('a', 1, 1, { paused: true, limit: 2 })))
    expect(await samples('pgbq_topic_limit')).toEqual({
      'pgbq_topic_limit{topic=""}': 4,
      'pgbq_topic_limit{topic="a"}': 0,
    })
  })

  test('of an earlier look are gone, and all of them when nothing is known', async () => {
    const queue = new QueueMetrics(registry, new TopicLabels())
    queue.show(picture(topic('a', 1, 1), topic('b', 1, 1)))
    queue.show(picture(topic('a', 1, 1)))
    expect(Object.keys(await samples('pgbq_topic_limit'))).toEqual(['pgbq_topic_limit{topic="a"}'])
    queue.show(undefined)
    for (const name of ['pgbq_tasks', 'pgbq_oldest_due_age_seconds', 'pgbq_topic_limit'])
      expect(await samples(name)).toEqual({})
  })
})

describe('runs', () => {
  test('are counted from 0 for every outcome as soon as a task of the topic is claimed', async () => {
    const runs = new RunMetrics(registry, new TopicLabels())
    runs.note(claimed('a'))
    const counts = await samples('pgbq_task_runs_total')
    expect(Object.values(counts)).toEqual([0, 0, 0, 0, 0])
  })

  test('tell which workers are busy', async () => {
    const runs = new RunMetrics(registry, new TopicLabels())
    const workers = async () => Object.values(await samples('pgbq_workers'))
    for (const workerId of [1n, 2n]) runs.note({ event: 'worker_started', workerId, pid: 1, role: 'r' })
    runs.note(claimed('a'))
    expect(await workers()).toEqual([1, 1])
    runs.note(ended('a', 'released'))
    expect(await workers()).toEqual([0, 2])
    runs.note({ event: 'worker_gone', workerId: 1n, pid: 1, role: 'r', reason: '', isExpected: true })
    // its last word may come after it has gone
    runs.note(ended('a'))
    expect(await workers()).toEqual([0, 1])
  })

  test('whose wait is not known leave no latency', async () => {
    const runs = new RunMetrics(registry, new TopicLabels())
    runs.note(claimed('a', null))
    expect(await samples('pgbq_pickup_latency_seconds')).toEqual({})
  })
})

test('a supervisor is up from its first heartbeat on, until it loses the database or falls silent', () => {
  vi.useFakeTimers({ toFake: ['performance'] })
  try {
    const health = new Health()
    expect(health.state).toMatchObject({ isUp: false, reason: 'not connected to the database yet' })
    health.beat()
    expect(health.state).toEqual({ isUp: true, reason: null, heartbeatAgeSec: 0 })
    health.note({ event: 'database_lost', reason: 'terminated' })
    expect(health.state).toMatchObject({ isUp: false, reason: 'database lost: terminated' })
    health.beat()
    expect(health.state.isUp).toBe(true)
    vi.advanceTimersByTime(12_500)
    expect(health.state).toEqual({ isUp: false, reason: 'no heartbeat for 12 s', heartbeatAgeSec: 12.5 })
  } finally {
    vi.useRealTimers()
  }
})

describe('where metrics are shown', () => {
  const found = (config: FoundConfig['config']): FoundConfig => ({ path: '/etc/pgbq/.pgbqrc', config })

  test('is nowhere by default', () => {
    expect(chooseMetrics({}, undefined)).toEqual({ port: undefined, host: '127.0.0.1', file: undefined })
  })

  test('is what flags say before the configuration file, whose paths begin at its folder', () => {
    const file = found({ metrics_port: 1, metrics_host: '::1', metrics_file: 'a.prom' })
    expect(chooseMetrics({}, file)).toEqual({ port: 1, host: '::1', file: '/etc/pgbq/a.prom' })
    const flags = { 'metrics-port': '0', 'metrics-host': '10.0.0.1', 'metrics-file': '/b.prom' }
    expect(chooseMetrics(flags, file)).toEqual({ port: 0, host: '10.0.0.1', file: '/b.prom' })
  })

  test.each([
    [{ 'metrics-port': '65536' }, /^Expected --metrics-port to be a port from 1 to 65535, .*, got "65536"$/],
    [{ 'metrics-port': '-1' }, /got "-1"$/],
    [{ 'metrics-port': '' }, /got ""$/],
    [{ 'metrics-port': '1e3' }, /got "1e3"$/],
    [
      { 'metrics-port': '0', 'metrics-host': '' },
      /^Expected --metrics-host to be a host name or address, got ""$/,
    ],
    [{ 'metrics-file': '' }, /^Expected --metrics-file to be a path, got ""$/],
    [{ 'metrics-host': '0.0.0.0' }, /^--metrics-host says where to listen, but no port is given$/],
  ])('is refused for %j', (flags, message) => {
    const refused = () => chooseMetrics(flags, found({ metrics_host: '::1' }))
    expect(refused).toThrow(expect.objectContaining({ code: 'INVALID_VALUE', usage: true }))
    expect(refused).toThrow(message)
  })
})
