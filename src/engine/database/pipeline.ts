import './navigator.js'
import type { EventEmitter } from 'node:events'
import type { Writable } from 'node:stream'
import pg from 'pg'
import { asText } from './messages.js'

/** One statement of a pipeline; values are sent as text. */
export interface Step {
  text: string
  values?: unknown[]
  /** a task's statement, of whose rows nothing is kept */
  isTask?: boolean
}

/** How a step ended: the server's command tag as it is, null for a text without a statement, and its rows as text. */
export interface StepResult {
  tag: string | null
  rows: (string | null)[][]
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

/**
 * Statements by the extended protocol with one Sync behind them all: the server answers in one go, and skips what is
 * behind the first that fails. Errors are told when the session is ready again.
 * https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-PIPELINING
 */
export class PipelineQuery extends Query {
  readonly done: Promise<StepResult[]>
  /** of the steps that were answered so far, also where a later one fails */
  readonly results: StepResult[] = []
  private readonly steps: Step[]
  private stepRows: (string | null)[][] = []
  private fail!: (error: Error) => void
  private succeed!: () => void

  constructor(steps: Step[]) {
    super({ text: steps[0]!.text })
    this.steps = steps
    this.done = new Promise((resolve, reject) => {
      this.fail = reject
      this.succeed = () => resolve(this.results)
    })
  }

  /** Whether the rows that come now are a task's. */
  get isDiscarding(): boolean {
    return this.steps[this.results.length]?.isTask === true
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
    if (!this.isDiscarding) this.stepRows.push(fields)
  }

  handleCommandComplete({ text }: { text: string }): void {
    this.end(text)
  }

  handleEmptyQuery(): void {
    this.end(null)
  }

  private end(tag: string | null): void {
    this.results.push({ tag, rows: this.stepRows })
    this.stepRows = []
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

/** Sends all the steps at once. */
export function startPipeline(client: pg.Client, steps: Step[]): PipelineQuery {
  const query = new PipelineQuery(steps)
  client.query(query as unknown as pg.Submittable)
  return query
}
