import { rename, rm, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { QueueError } from '../errors.js'
import { shellWord } from '../shell-word.js'

const EVERY_MS = 10_000

/** A file that is renewed every 10 s, whole at any time: for the textfile collector of node_exporter. */
export class MetricsFile {
  private readonly path: string
  private readonly render: () => Promise<string>
  private readonly onTrouble: (error: Error) => void
  private timer: NodeJS.Timeout | undefined
  private writing: Promise<void> = Promise.resolve()
  private isTroubled = false

  /** onTrouble: it could not be renewed any more; it is tried again, and told of once. */
  constructor(path: string, render: () => Promise<string>, onTrouble: (error: Error) => void) {
    this.path = path
    this.render = render
    this.onTrouble = onTrouble
  }

  /** Writes it for the first time. Errors: METRICS_FILE. */
  async start(): Promise<void> {
    await this.write()
    this.timer = setInterval(() => this.renew(), EVERY_MS)
  }

  /** Now, rather than when it is due. */
  renew(): void {
    this.writing = this.writing
      .then(() => this.write())
      .then(
        () => {
          this.isTroubled = false
        },
        (error) => {
          if (!this.isTroubled) this.onTrouble(error)
          this.isTroubled = true
        },
      )
  }

  /** Writes it for the last time. */
  async stop(): Promise<void> {
    clearInterval(this.timer)
    this.renew()
    await this.writing
  }

  private async write(): Promise<void> {
    // the collector reads only what ends in .prom
    const draft = `${this.path}.${process.pid}.tmp`
    const text = await this.render()
    try {
      await writeFile(draft, text)
      await rename(draft, this.path)
    } catch (error) {
      await rm(draft, { force: true })
      throw refusal(error as NodeJS.ErrnoException, this.path)
    }
  }
}

function refusal(error: NodeJS.ErrnoException, path: string): QueueError {
  return new QueueError('METRICS_FILE', `The metrics cannot be written to "${path}": ${error.message}`, {
    hint: error.code === 'ENOENT' ? `mkdir -p ${shellWord(dirname(path))}` : undefined,
    cause: error,
  })
}
