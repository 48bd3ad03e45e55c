import { functionCall, SYNC, script, statement } from '../database/messages.js'
import { AS_OURSELVES_SCRIPT, BEGIN_OURS, COMMIT_SCRIPT, UNLOCK_AND_RESEED } from './session-sql.js'

/** The functions of ours that are called for each task, with their OIDs in this database; null: there is no queue. */
export interface Oids {
  claimOid: number | null
  finishOid: number | null
}

const CLAIM_AS_TEXT = 'select background_queue.claim($1, $2)::pg_catalog.text'
const FINISH_AS_TEXT =
  'select background_queue.finish_and_claim($1, $2, $3, $4, $5, $6, $7, $8)::pg_catalog.text'

/** Functions that have the same OIDs in every server: parsed and planned, they would cost five times as much. */
const UNLOCK_ALL = functionCall(2892, [])
const reseed = (): Buffer => functionCall(1599, [Math.random()])

const COMMIT = script('commit')
const BEGIN = script('begin')
const NEXT_SCRIPT = 'commit; begin'
const NEXT = script(NEXT_SCRIPT)
const WRAP = script(`${BEGIN_OURS}; ${AS_OURSELVES_SCRIPT}`)

/** Messages that the server answers one by one; with the answer `rowIn` comes the row of our function. */
export interface Call {
  messages: Buffer[]
  rowIn: number
}

/** What a worker sends before and behind a task, each time in one go. */
export class Calls {
  private readonly oids: Oids
  /** Not every pooler knows a function call by its OID. */
  private readonly isPooled: boolean

  constructor(oids: Oids, isPooled: boolean) {
    this.oids = oids
    this.isPooled = isPooled
  }

  get isInstalled(): boolean {
    return this.oids.claimOid !== null && this.oids.finishOid !== null
  }

  /** claim() in a transaction of its own, behind SQL that makes the session fit for it, and a BEGIN for its task. */
  claim(values: unknown[], before: string, isWrapped: boolean): Call {
    const first = before === '' ? [] : [script(before)]
    const call = this.call(this.oids.claimOid, CLAIM_AS_TEXT, values)
    return isWrapped
      ? { messages: [...first, WRAP, call, COMMIT, BEGIN], rowIn: first.length + 1 }
      : { messages: [...first, call, BEGIN], rowIn: first.length }
  }

  /** finish_and_claim() behind statements of ours; right behind it the commit, then the cleaning and a BEGIN. */
  finish(values: unknown[], before: string, cleaning: string): Call {
    const first = before === '' ? [] : [script(before)]
    const call = this.call(this.oids.finishOid, FINISH_AS_TEXT, values)
    const commit = `${COMMIT_SCRIPT}; begin; ${cleaning}`
    const ending = this.isPooled
      ? [script(`${commit}; ${UNLOCK_AND_RESEED}(${Math.random()}); ${NEXT_SCRIPT}`)]
      : [script(commit), UNLOCK_ALL, reseed(), NEXT]
    return { messages: [...first, call, ...ending], rowIn: first.length }
  }

  private call(oid: number | null, asText: string, values: unknown[]): Buffer {
    return this.isPooled ? Buffer.concat([statement(asText, values), SYNC]) : functionCall(oid ?? 0, values)
  }
}
