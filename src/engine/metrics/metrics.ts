import { Gauge, Registry } from 'prom-client'
import type { ConnectionTarget } from '../database/target.js'
import type { Emit, QueueEvent } from '../events.js'
import type { Picture } from '../watch/picture.js'
import type { MetricsChoice } from './choice.js'
import { MetricsFile } from './file.js'
import { Health } from './health.js'
import { type Listener, listen, type Page } from './http.js'
import { QueueLook } from './queue-look.js'
import { QueueMetrics } from './queue-metrics.js'
import { RunMetrics } from './run-metrics.js'
import { TopicLabels } from './topic-labels.js'

/** The metrics of one supervisor, over HTTP, in a file, or both. */
export class Metrics {
  private readonly registry = new Registry()
  private readonly health = new Health()
  private readonly runs: RunMetrics
  private readonly queue: QueueMetrics
  private readonly look: QueueLook
  private readonly emit: Emit
  private listener: Listener | undefined
  private file: MetricsFile | undefined
  private isTroubled = false

  private constructor(target: ConnectionTarget, emit: Emit) {
    const labels = new TopicLabels()
    this.emit = emit
    this.look = new QueueLook(target)
    this.addUp()
    this.queue = new QueueMetrics(this.registry, labels)
    this.runs = new RunMetrics(this.registry, labels)
  }

  /** Shows them, and tells where. Errors: METRICS_PORT_IN_USE, METRICS_NOT_SERVED, METRICS_FILE. */
  static async start(choice: MetricsChoice, target: ConnectionTarget, emit: Emit): Promise<Metrics> {
    const metrics = new Metrics(target, emit)
    const { port, host, file } = choice
    try {
      if (port !== undefined) await metrics.serve(port, host)
      if (file !== undefined) await metrics.writeTo(file)
    } catch (error) {
      await metrics.listener?.close()
      throw error
    }
    const url = metrics.listener ? `${metrics.listener.url}/metrics` : null
    emit({ event: 'metrics', url, file: file ?? null })
    return metrics
  }

  /** Every event of the supervisor. */
  note(event: QueueEvent): void {
    this.health.note(event)
    this.runs.note(event)
    if (event.event !== 'ready') return
    if (this.file) this.file.renew()
    else void this.findPicture()
  }

  /** The supervisor's loop has come round. */
  beat(): void {
    this.health.beat()
  }

  /** The last word goes to the file: that nobody works here now, and what was done. */
  async stop(): Promise<void> {
    this.health.note({ event: 'stopped' })
    await this.listener?.close()
    await this.file?.stop()
    await this.look.close()
  }

  private addUp(): void {
    const { health } = this
    new Gauge({
      name: 'pgbq_up',
      help: 'Whether this supervisor is connected and its heartbeat is fresh.',
      registers: [this.registry],
      collect() {
        this.set(health.state.isUp ? 1 : 0)
      },
    })
  }

  private async serve(port: number, host: string): Promise<void> {
    this.listener = await listen(port, host, {
      '/metrics': async () => ({
        status: 200,
        type: this.registry.contentType,
        body: await this.expose(),
      }),
      '/healthz': () => this.healthPage(),
    })
  }

  private async writeTo(path: string): Promise<void> {
    const file = new MetricsFile(
      path,
      () => this.expose(),
      (error) => this.warn(error.message),
    )
    await file.start()
    this.file = file
  }

  private healthPage(): Page {
    const { isUp, reason, heartbeatAgeSec } = this.health.state
    const body = { status: isUp ? 'ok' : 'failing', reason, heartbeat_age_sec: heartbeatAgeSec }
    return { status: isUp ? 200 : 503, type: 'application/json', body: `${JSON.stringify(body)}\n` }
  }

  private async expose(): Promise<string> {
    this.queue.show(await this.findPicture())
    return this.registry.metrics()
  }

  /** undefined: there is no connection, or the server does not tell. */
  private async findPicture(): Promise<Picture | undefined> {
    if (!this.health.state.isUp) return undefined
    try {
      const picture = await this.look.picture()
      this.isTroubled = false
      return picture
    } catch (error) {
      if (!this.isTroubled)
        this.warn(`The numbers of the queue are not in the metrics: ${(error as Error).message}`)
      this.isTroubled = true
      return undefined
    }
  }

  private warn(message: string): void {
    this.emit({ event: 'warning', message })
  }
}
