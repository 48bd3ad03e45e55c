import { QueueError } from '../engine/errors.js'

/** A wish to stop: a signal handler notes it, the demo obeys it at the next step. */
export class Interrupt {
  private signal: string | undefined
  private listener: ((signal: string) => void) | undefined

  /** Notes a signal. Each one, the second too, reaches the listener. */
  request(signal: string): void {
    this.signal ??= signal
    this.listener?.(signal)
  }

  /** Tells this listener, if any, of signals from now on; also of one that came before. */
  listen(listener: ((signal: string) => void) | undefined): void {
    this.listener = listener
    if (this.signal !== undefined) listener?.(this.signal)
  }

  /** Errors: INTERRUPTED. */
  check(): void {
    if (this.signal === undefined) return
    throw new QueueError(
      'INTERRUPTED',
      `The demo was stopped by ${this.signal}; nothing of it runs any more`,
      {
        hint: 'pgbq demo, which begins anew',
      },
    )
  }
}
