import './navigator.js'
import type { EventEmitter } from 'node:events'
import type { Writable } from 'node:stream'
import pg from 'pg'

/** One statement of a pipeline; values are sent as text. */
export interface Step {
  text: string
  values?: unknown[]
}

/** How a step ended: the server's command tag as it is, null for a text without a statement, and its first row. */
export interface StepResult {
  tag: string | null
  row: (string | null)[] | undefined
}

interface Wire extends EventEmitter {
  stream: Writable
  parse(statement: { text: string }): void
  bind(portal: { values: unknown[]; valueMapper(value: unknown): string | null }): void
  execute(portal: object): void
  sync(): void
}

/** `pg` takes no other class in pipeline mode; of it, nothing but what a query has to answer is used. */
const Query = pg.Query as unknown as new (config: object) => object

const asText = (value: unknown): string | null => (value === null ? null : String(value))

/**
 * Statements by the extended protocol with one Sync behind them all: the server answers in one go, and skips what is
 * behind the first that fails. Errors are told when the session is ready again.
 * https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-PIPELINING
 */
export class PipelineQuery extends Query {
  readonly done: Promise<StepResult[]>
  private readonly steps: Step[]
  private readonly discardsFirst: boolean
  private readonly results: StepResult[] = []
  private row: (string | null)[] | undefined
  private fail!: (error: Error) => void
  private succeed!: () => void

  constructor(steps: Step[], discardsFirst: boolean) {
    super({ text: steps[0]!.text })
    this.steps = steps
    this.discardsFirst = discardsFirst
    this.done = new Promise((resolve, reject) => {
      this.fail = reject
      this.succeed = () => resolve(this.results)
    })
  }

  /** Whether the rows that come now are of the first step, of which none is wanted. */
  get isDiscarding(): boolean {
    return this.discardsFirst && this.results.length === 0
  }

  submit(connection: Wire): null {
    connection.stream.cork()
    for (const { text, values = [] } of this.steps) {
      connection.parse({ text })
      connection.bind({ values, valueMapper: asText })
      connection.execute({})
    }
    connection.sync()
    connection.stream.uncork()
    return null
  }

  handleDataRow({ fields }: { fields: (string | null)[] }): void {
    if (!this.isDiscarding) this.row ??= fields
  }

  handleCommandComplete({ text }: { text: string }): void {
    this.end(text)
  }

  handleEmptyQuery(): void {
    this.end(null)
  }

  private end(tag: string | null): void {
    this.results.push({ tag, row: this.row })
    this.row = undefined
  }

  handleReadyForQuery(): void {
    this.succeed()
  }

  /** `pg` has done with this query then; what the transaction has come to is known with the answer to the Sync. */
  handleError(error: Error, connection: Wire): void {
    if (!(error instanceof pg.DatabaseError)) {
      this.fail(error)
      return
    }
    const settle = (): void => {
      connection.off('readyForQuery', settle)
      connection.off('end', settle)
      this.fail(error)
    }
    connection.on('readyForQuery', settle)
    connection.on('end', settle)
  }
}

/** Sends all the steps at once; `discardsFirst`: the first is a task's, of whose rows nothing is kept. */
export function submitPipeline(
  client: pg.Client,
  steps: Step[],
  discardsFirst = false,
): Promise<StepResult[]> {
  const query = new PipelineQuery(steps, discardsFirst)
  client.query(query as unknown as pg.Submittable)
  return query.done
}
