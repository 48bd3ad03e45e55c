import type { QueueEvent } from '../engine/events.js'
import type { RunningTask, TaskError } from '../engine/worker/ipc.js'
import type { Screen } from '../output/screen.js'
import type { DemoTask } from './script.js'

const BAR_WIDTH = 20

/** The end of an attempt. */
interface Ended {
  event: string
  task: RunningTask
  error?: TaskError
}

/**
 * Turns a supervisor's events into lines and a bar. The parts of the back-fill share one line, at their end; times
 * are from the first claim to the last end, with the waits between.
 */
export class Progress {
  private readonly tasks: Map<bigint, DemoTask>
  private readonly screen: Screen
  private readonly running = new Set<bigint>()
  private readonly retryAt = new Map<bigint, number>()
  private readonly left = new Map<string, number>()
  private readonly begunAt = new Map<string, number>()
  private closed = 0

  constructor(tasks: Map<bigint, DemoTask>, screen: Screen) {
    this.tasks = tasks
    this.screen = screen
    for (const { label } of tasks.values()) this.left.set(label, (this.left.get(label) ?? 0) + 1)
  }

  on(event: QueueEvent): void {
    switch (event.event) {
      case 'claimed':
        this.running.add(event.task.id)
        this.retryAt.delete(event.task.id)
        this.begin(this.tasks.get(event.task.id)!.label)
        break
      case 'retrying':
        this.tellRetry(event)
        break
      case 'finished':
      case 'failed':
      case 'cancelled':
        this.tellEnd(event)
        break
      case 'released':
        this.running.delete(event.task.id)
        break
      case 'rescued':
        for (const id of event.taskIds) this.running.delete(id)
        break
      case 'warning':
        this.screen.line(`   ${event.message}`)
        break
      case 'database_lost':
        this.running.clear()
        this.screen.line(`   The database is gone: ${event.reason}; waiting for it`)
        break
    }
    this.draw()
  }

  /** The bar, what runs, and what waits for its next attempt. */
  draw(): void {
    const filled = Math.round((this.closed / this.tasks.size) * BAR_WIDTH)
    const bar = '█'.repeat(filled).padEnd(BAR_WIDTH, '░')
    const retries = [...this.retryAt].map(
      ([id, at]) =>
        `${this.tasks.get(id)!.label} again in ${Math.max(0, Math.ceil((at - Date.now()) / 1000))} s`,
    )
    const running = [...this.running].map((id) => this.tasks.get(id)!.key)
    const now =
      this.begunAt.size === 0
        ? 'starting worker processes'
        : [...(running.length > 0 ? [`running: ${running.join(', ')}`] : []), ...retries].join(' · ')
    this.screen.live(`   ${bar} ${this.closed} of ${this.tasks.size}  ${now}`)
  }

  private begin(label: string): void {
    if (!this.begunAt.has(label)) this.begunAt.set(label, performance.now())
  }

  private tellEnd({ event, task, error }: Ended): void {
    const { label, title } = this.tasks.get(task.id)!
    const left = this.left.get(label)! - 1
    this.running.delete(task.id)
    this.left.set(label, left)
    this.closed++
    const text = `${column(label)} ${title}`
    if (event !== 'finished') {
      this.screen.item('failed', text)
      this.screen.line(`     ${column('')} ${error?.message ?? event}`)
    } else if (left === 0) this.screen.item('done', text, performance.now() - this.begunAt.get(label)!)
  }

  /** Retry n waits 2^n seconds. */
  private tellRetry({ task, error }: Ended): void {
    const waitSec = 2 ** task.attempt
    this.running.delete(task.id)
    this.retryAt.set(task.id, Date.now() + waitSec * 1000)
    const { label } = this.tasks.get(task.id)!
    this.screen.item('again', `${column(label)} ${error?.message}; again in ${waitSec} s`)
  }
}

const column = (label: string): string => label.padEnd(8)
