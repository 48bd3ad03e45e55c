import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { pgbq } from '../support/cli.js'
import { waitFor } from '../support/wait.js'
import { healthOf, metricsUrl, parseExposition, sampleValue, scrape } from './metrics-support.js'
import { eventsOf, holderOf, stop, useQueue } from './work-support.js'

vi.setConfig({ testTimeout: 60_000 })

const queue = useQueue()
const { db } = queue
const ODD = 'größe "漢字"\n\\ {,} '

function folder(): string {
  const path = mkdtempSync(join(tmpdir(), 'pgbq-metrics-'))
  onTestFinished(() => rmSync(path, { recursive: true, force: true }))
  return path
}

const FAMILIES = {
  pgbq_up: 'gauge',
  pgbq_tasks: 'gauge',
  pgbq_oldest_due_age_seconds: 'gauge',
  pgbq_topic_limit: 'gauge',
  pgbq_task_runs_total: 'counter',
  pgbq_task_duration_seconds: 'histogram',
  pgbq_pickup_latency_seconds: 'histogram',
  pgbq_rescues_total: 'counter',
  pgbq_workers: 'gauge',
}

describe('the metrics', () => {
  test('tell what ran, what waits and who works, of topics of any name', async () => {
    await queue.set('max_parallel_running_tasks_count', '2', ODD)
    await queue.set('paused', 'true', 'paused')
    await queue.enqueueMany(['select 1', 'select pg_sleep(0.1)', 'select 1/0'], ODD)
    await queue.enqueue('select 1/0', { max_retries: 1 })
    await queue.enqueue('select 2', {
      topic: 'paused',
      run_at: new Date(Date.now() - 3_600_000).toISOString(),
    })
    const running = await queue.enqueue('select pg_sleep(600)', { topic: 'long' })
    const work = await queue.work(['--metrics-port', '0', '--concurrency', '3'])
    await queue.reaches(running, 'running')
    const runs = (outcome: string, topic = ODD) => ['pgbq_task_runs_total', { topic, outcome }] as const
    const families = await waitFor('all runs to be seen', async () => {
      const found = await scrape(work)
      const isThere =
        sampleValue(found, ...runs('finished')) === 2 && sampleValue(found, ...runs('failed')) === 1
      const isNew = sampleValue(found, 'pgbq_tasks', { topic: 'long', state: 'running' }) === 1
      const tried = sampleValue(found, ...runs('retrying', '')) === 1
      return (
        isThere &&
        isNew &&
        tried &&
        sampleValue(found, 'pgbq_tasks', { topic: ODD, state: 'finished' }) === 2 &&
        found
      )
    })
    expect(Object.fromEntries([...families].map(([name, { type }]) => [name, type]))).toEqual(FAMILIES)
    for (const { help, samples } of families.values()) {
      expect(help).toMatch(/^[A-Z].*\.$/)
      expect(samples.length).toBeGreaterThan(0)
    }
    const value = (name: string, labels = {}) => sampleValue(families, name, labels)
    expect(value('pgbq_up')).toBe(1)
    expect(value('pgbq_workers', { state: 'running' })).toBe(1)
    expect(value('pgbq_workers', { state: 'idle' })).toBe(2)
    expect(value('pgbq_rescues_total')).toBe(0)
    expect(value('pgbq_topic_limit', { topic: ODD })).toBe(2)
    expect(value('pgbq_topic_limit', { topic: 'paused' })).toBe(0)
    expect(value('pgbq_tasks', { topic: 'paused', state: 'pending' })).toBe(1)
    expect(value('pgbq_oldest_due_age_seconds', { topic: 'paused' })).toBeGreaterThanOrEqual(3600)
    expect(value('pgbq_oldest_due_age_seconds', { topic: ODD })).toBe(0)
    expect(value(...runs('cancelled'))).toBe(0)
  })

  test('have histograms that add up, of durations and of waits', async () => {
    await queue.enqueueMany(['select pg_sleep(0.2)', 'select 1'], 'a')
    const hour = new Date(Date.now() - 3_600_000).toISOString()
    const late = await queue.enqueue('select 1', { topic: 'late', run_at: hour })
    const work = await queue.work(['--metrics-port', '0'])
    await queue.reaches(late, 'finished')
    const families = await waitFor('all three to be counted', async () => {
      const found = await scrape(work)
      const count = (topic: string) => sampleValue(found, 'pgbq_task_duration_seconds_count', { topic })
      return count('a') === 2 && count('late') === 1 && found
    })
    for (const [name, topic, count, low, high] of [
      ['pgbq_task_duration_seconds', 'a', 2, 0.2, 60],
      ['pgbq_pickup_latency_seconds', 'a', 2, 0, 120],
      ['pgbq_pickup_latency_seconds', 'late', 1, 3600, 3720],
    ] as const) {
      const buckets = families.get(name)!.samples.filter((s) => s.labels.topic === topic && s.labels.le)
      expect(buckets.at(-1)).toMatchObject({ labels: { le: '+Inf' }, value: count })
      const values = buckets.map((s) => s.value)
      expect(values).toEqual([...values].sort((x, y) => x - y))
      expect(sampleValue(families, `${name}_count`, { topic })).toBe(count)
      const sum = sampleValue(families, `${name}_sum`, { topic })
      expect(sum).toBeGreaterThanOrEqual(low)
      expect(sum).toBeLessThan(high)
    }
  })

  test('count a rescue', async () => {
    const id = await queue.enqueue('select pg_sleep(600)')
    const work = await queue.work(['--metrics-port', '0', '--concurrency', '1'])
    process.kill((await holderOf(queue, id)).pid, 'SIGKILL')
    await work.event((e) => e.event === 'rescued')
    expect(sampleValue(await scrape(work), 'pgbq_rescues_total')).toBe(1)
  })
})

describe('over HTTP', () => {
  test('paths and methods have their answers', async () => {
    const answers = [
      ['GET', '/metrics', 200, 'text/plain; version=0.0.4; charset=utf-8', null],
      ['GET', '/metrics?collect=all', 200, 'text/plain; version=0.0.4; charset=utf-8', null],
      ['HEAD', '/metrics', 200, 'text/plain; version=0.0.4; charset=utf-8', null],
      ['GET', '/healthz', 200, 'application/json', null],
      ['GET', '/', 404, 'text/plain; charset=utf-8', null],
      ['GET', '/metrics/', 404, 'text/plain; charset=utf-8', null],
      ['GET', '/constructor', 404, 'text/plain; charset=utf-8', null],
      ['POST', '/metrics', 405, 'text/plain; charset=utf-8', 'GET, HEAD'],
      ['DELETE', '/healthz', 405, 'text/plain; charset=utf-8', 'GET, HEAD'],
    ] as const
    const url = await metricsUrl(await queue.work(['--metrics-port', '0']))
    const found = answers.map(async ([method, path]) => {
      const { status, headers } = await fetch(new URL(path, url), { method })
      return [method, path, status, headers.get('content-type'), headers.get('allow')]
    })
    expect(await Promise.all(found)).toEqual(answers)
  })

  test('it is served on 127.0.0.1 alone unless another address is named', async () => {
    const work = await queue.work(['--metrics-port', '0'])
    expect(await metricsUrl(work)).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/metrics$/)
    expect(await stop(work)).toBe(0)
    // elsewhere the loopback has but one address of each kind
    const isLinux = process.platform === 'linux'
    const host = isLinux ? '127.0.0.2' : 'localhost'
    const other = await queue.work(['--metrics-port', '0', '--metrics-host', host])
    const address = isLinux
      ? /^http:\/\/127\.0\.0\.2:\d+\/metrics$/
      : /^http:\/\/(127\.0\.0\.1|\[::1\]):\d+\/metrics$/
    expect(await metricsUrl(other)).toMatch(address)
    await scrape(other)
  })

  test('/healthz and pgbq_up say when the database is lost, without old news, and when it is back', async () => {
    await queue.enqueue('select 1', { topic: 'a', run_at: '2090-01-01' })
    const work = await queue.work(['--metrics-port', '0'])
    expect(await healthOf(work)).toMatchObject({ code: 200, body: { status: 'ok', reason: null } })
    const isSeen = async () =>
      sampleValue(await scrape(work), 'pgbq_tasks', { topic: 'a', state: 'pending' }) === 1
    await waitFor('the queue to be seen', isSeen)
    const letIn = (count: number) => db.admin.query(`alter database ${db.name} connection limit ${count}`)
    await letIn(0)
    onTestFinished(() => void letIn(-1))
    await db.admin.query(`select pg_terminate_backend(pid) from pg_stat_activity
      where datname = current_database() and application_name like 'pg\\_background\\_queue%'`)
    await work.event((e) => e.event === 'database_lost')
    const { code, body } = await healthOf(work)
    expect(code).toBe(503)
    expect(body).toEqual({
      status: 'failing',
      reason: expect.stringMatching(/^database lost: ./),
      heartbeat_age_sec: expect.any(Number),
    })
    const lost = await scrape(work)
    expect(sampleValue(lost, 'pgbq_up')).toBe(0)
    expect([...lost.keys()]).toEqual(Object.keys(FAMILIES))
    expect(lost.get('pgbq_tasks')!.samples).toEqual([])
    await letIn(-1)
    await waitFor('the probe to be content', async () => (await healthOf(work)).code === 200)
    await waitFor('the queue to be seen again', isSeen)
  })

  test('a supervisor stops with clients connected to it', async () => {
    const work = await queue.work(['--metrics-port', '0'])
    await scrape(work)
    expect(await stop(work)).toBe(0)
    await expect(fetch(await metricsUrl(work))).rejects.toThrow()
  })
})

describe('with --metrics-file', () => {
  test('the file is whole, of the end too, and alone', async () => {
    const place = folder()
    const file = join(place, 'pgbq.prom')
    const work = await queue.work(['--metrics-file', file])
    await waitFor('the queue to be connected', () => sampleValue(read(file), 'pgbq_up') === 1)
    const id = await queue.enqueue('select 1', { topic: 'a' })
    await queue.reaches(id, 'finished')
    expect(await stop(work)).toBe(0)
    const end = read(file)
    expect(sampleValue(end, 'pgbq_up')).toBe(0)
    expect(sampleValue(end, 'pgbq_task_runs_total', { topic: 'a', outcome: 'finished' })).toBe(1)
    expect(end.get('pgbq_tasks')!.samples).toEqual([])
    expect(readdirSync(place)).toEqual(['pgbq.prom'])
  })

  const read = (file: string) => parseExposition(readFileSync(file, 'utf8'))

  test('a file that can no longer be written is told of, and work goes on', async () => {
    const place = join(folder(), 'own')
    mkdirSync(place)
    const work = await queue.work(['--metrics-file', join(place, 'pgbq.prom')])
    await waitFor(
      'the queue to be connected',
      () => sampleValue(read(join(place, 'pgbq.prom')), 'pgbq_up') === 1,
    )
    rmSync(place, { recursive: true })
    await queue.reaches(await queue.enqueue('select 1'), 'finished')
    expect(await stop(work)).toBe(0)
    const warnings = eventsOf(work, 'warning').filter((e) =>
      e.message.startsWith('The metrics cannot be written'),
    )
    expect(warnings).toHaveLength(1)
  })

  test('and a port both are served, as the configuration file says', async () => {
    const place = folder()
    const config = join(place, 'pgbq.yaml')
    writeFileSync(config, 'metrics_port: 0\nmetrics_host: localhost\nmetrics_file: own/pgbq.prom\n')
    mkdirSync(join(place, 'own'))
    const work = await queue.work(['--config', config])
    expect(eventsOf(work, 'metrics')).toEqual([
      {
        time: expect.any(String),
        event: 'metrics',
        url: expect.stringMatching(/^http:\/\/(127\.0\.0\.1|\[::1\]):\d+\/metrics$/),
        file: join(place, 'own', 'pgbq.prom'),
      },
    ])
    expect(read(join(place, 'own', 'pgbq.prom')).size).toBe(Object.keys(FAMILIES).length)
  })
})

describe('refused before any task is taken', () => {
  test('is a port that another supervisor has', async () => {
    const first = await queue.work(['--metrics-port', '0', '--topic', 'other'])
    const port = new URL(await metricsUrl(first)).port
    const id = await queue.enqueue('select 1')
    const { code, json } = await pgbq(['work', '--json', '--drain', '--metrics-port', port], {
      url: db.url(),
    })
    expect({ code, error: json.error }).toEqual({
      code: 1,
      error: {
        code: 'METRICS_PORT_IN_USE',
        message: `Port ${port} of "127.0.0.1" is in use, maybe by the metrics of another supervisor`,
        hint: expect.stringMatching(/^pgbq work --metrics-port 0/),
      },
    })
    expect((await queue.task(id)).state).toBe('pending')
  })

  test('is an address that is not ours', async () => {
    const args = ['work', '--json', '--drain', '--metrics-port', '0', '--metrics-host', '192.0.2.1']
    const { code, json } = await pgbq(args, { url: db.url() })
    expect({ code, error: json.error.code }).toEqual({ code: 1, error: 'METRICS_NOT_SERVED' })
  })

  test('is a file that cannot be written, and the port is free again', async () => {
    const missing = join(folder(), 'missing dir')
    const id = await queue.enqueue('select 1')
    const args = [
      'work',
      '--json',
      '--drain',
      '--metrics-port',
      '0',
      '--metrics-file',
      join(missing, 'a.prom'),
    ]
    const { code, json } = await pgbq(args, { url: db.url() })
    expect({ code, error: json.error }).toEqual({
      code: 1,
      error: {
        code: 'METRICS_FILE',
        message: expect.stringContaining(join(missing, 'a.prom')),
        hint: `mkdir -p '${missing}'`,
      },
    })
    expect((await queue.task(id)).state).toBe('pending')
  })

  test('is a port that there cannot be', async () => {
    const { code, json } = await pgbq(['work', '--json', '--metrics-port', '65536'], { url: db.url() })
    expect({ code, error: json.error }).toEqual({
      code: 2,
      error: {
        code: 'INVALID_VALUE',
        message:
          'Expected --metrics-port to be a port from 1 to 65535, or 0 for any that is free, got "65536"',
        hint: 'pgbq work --help',
      },
    })
  })
})
