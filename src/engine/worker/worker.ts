import { setTimeout as sleep } from 'node:timers/promises'
import { sendCancelRequest } from '../database/cancel.js'
import type { ConnectionTarget } from '../database/target.js'
import { QueueError } from '../errors.js'
import { type Claim, type Claimed, readClaimed } from './claim.js'
import { execute, type Successor } from './executor.js'
import type { GroupPace } from './group-pace.js'
import type { Ending, Followed, FromWorker, RunningTask, TaskError } from './ipc.js'
import { OwnStatementError, persist } from './own-statement.js'
import type { WorkerSession } from './session.js'
import { FinalTaskError } from './task-error.js'

const FAIL = 'select background_queue.fail($1, $2, $3) as state'
const RELEASE = 'select background_queue.release($1, $2, $3) as state'

/**
 * For so long, or ten times what the last look at all that waits took, the next task may be the one behind the last:
 * with a snapshot pinned, each look from the head steps over all that was done since.
 */
const NEAR_MS = 20
const LOOKS_SHARE = 10

/** For so long, what nobody waits for may wait to be reported. */
const REPORT_WITHIN_MS = 20

const ORPHANED = 'The supervisor of the worker was gone'
const MOST_CANCELS = 6
const CANCEL_EVERY_MS = 500

export interface WorkerOptions {
  workerId: bigint
  secret: string
  pace: GroupPace
  report(messages: FromWorker[]): void
}

/** How an attempt ended, with the runs in its transaction; without a duration it took all the time. */
type Attempt = Omit<Ending, 'durationMs'> & Partial<Pick<Ending, 'durationMs'>> & { followed?: Followed[] }

/** The loop of one worker slot: claim, run, record, clean, and sleep while nothing is to be had. */
export class Worker {
  private readonly session: WorkerSession
  private readonly target: ConnectionTarget
  private readonly options: WorkerOptions
  private isStopping = false
  /** what has not been reported yet, and will be at the latest when the timer is over */
  private unreported: FromWorker[] = []
  private reportTimer: NodeJS.Timeout | undefined
  private isOrphan = false
  private isRunning = false
  /** why the session is not trusted with another task */
  private mistrust: Error | undefined
  private wakeUp: (() => void) | undefined
  private isWakePending = false
  /** claimed in the commit of the last task */
  private claimed: Claim | undefined
  /** the task in hand was claimed in the commit of one before it, and leaves no slot to others */
  private isNext = false
  private lookAgainAt = 0
  /** nothing waited when the last task ended */
  private isEmpty = false
  private readonly successor: Successor

  constructor(session: WorkerSession, target: ConnectionTarget, options: WorkerOptions) {
    this.session = session
    this.target = target
    this.options = options
    this.successor = {
      workerId: options.workerId,
      secret: options.secret,
      pace: options.pace,
      isNear: () => (this.isStopping ? null : performance.now() < this.lookAgainAt),
    }
    // asleep, nothing else would tell that the session is gone
    session.database.onLost(() => this.wake())
    session.notices.send = (messages) => this.report(...messages)
  }

  /** Claims and runs until told to stop. Throws when the session is lost or cannot be cleaned. */
  async work(): Promise<void> {
    try {
      while (this.claimed || !this.isStopping) {
        if (this.mistrust) throw this.mistrust
        const claim = await this.next()
        if (claim) await this.runTask(claim)
      }
    } finally {
      this.report()
    }
  }

  /** The next task; undefined after a sleep without one. */
  private async next(): Promise<Claim | undefined> {
    const claim = this.claimed
    if (!claim) this.isNext = false
    if (claim) {
      this.claimed = undefined
      await this.makeClean(claim)
      if (!this.isOrphan) return claim
      await persist(this.session, RELEASE, [claim.id, claim.token, ORPHANED])
      return undefined
    }
    if (this.isEmpty) {
      this.isEmpty = false
      await this.session.makeClean()
      await this.session.close()
      await this.sleep(null)
      return undefined
    }
    const row = await this.session.claim([this.options.workerId, this.options.secret])
    const { claim: found, waitMs, lookMs } = readClaimed(row)
    this.noteLook(lookMs)
    if (!found) {
      await this.session.close()
      await this.sleep(waitMs)
    }
    return found
  }

  /** Where the session cannot be made clean, the task that is claimed for it is not to blame. */
  private async makeClean({ id, token }: Claim): Promise<void> {
    try {
      await this.session.makeClean()
    } catch (error) {
      if (!this.session.database.lost) {
        const reason = `The session could not be cleaned: ${(error as Error).message}`
        await persist(this.session, RELEASE, [id, token, reason])
      }
      throw error
    }
  }

  private report(...messages: FromWorker[]): void {
    const all = [...this.unreported, ...messages]
    this.unreported = []
    if (all.length > 0) this.options.report(all)
  }

  /** What nobody waits for goes out with what follows it: of many short tasks, all that were over within a while. */
  private reportSoon(...messages: FromWorker[]): void {
    this.unreported.push(...messages)
    if (this.reportTimer) return
    this.reportTimer = setTimeout(() => {
      this.reportTimer = undefined
      this.report()
    }, REPORT_WITHIN_MS)
  }

  wake(): void {
    this.isWakePending = true
    this.wakeUp?.()
  }

  noted(): void {
    this.session.notices.noted()
  }

  stop(): void {
    this.isStopping = true
    this.wakeUp?.()
  }

  /** The supervisor is gone: end what runs and give it back. Resolves when asking has proved to be in vain. */
  async abandon(): Promise<void> {
    this.isOrphan = true
    this.stop()
    // a cancel between two statements hits nothing: ask more than once
    for (let asked = 0; asked < MOST_CANCELS; asked++) {
      if (this.isRunning)
        await sendCancelRequest(this.target, this.session.database.backendKey).catch(() => undefined)
      await sleep(CANCEL_EVERY_MS)
    }
  }

  private async sleep(waitMs: number | null): Promise<void> {
    if (this.isWakePending || this.isStopping) {
      this.isWakePending = false
      return
    }
    this.report({ type: 'idle', waitMs })
    await new Promise<void>((resolve) => {
      this.wakeUp = resolve
    })
    this.wakeUp = undefined
    this.isWakePending = false
  }

  private async runTask(claim: Claim): Promise<void> {
    const task = describe(claim)
    const isNext = this.isNext
    this.session.notices.begin(task)
    const startedAt = performance.now()
    const running = this.attempt(claim)
    const [{ followed, ...ending }] = await Promise.all([
      running,
      this.tell({ type: 'claimed', task, isNext }),
    ])
    const durationMs = performance.now() - startedAt
    if (!followed) this.successor.pace.note(claim.topic, durationMs)
    this.reportSoon(
      { type: 'ended', task, ending: { durationMs, ...ending }, ...this.session.notices.end() },
      ...(followed ? [{ type: 'followed' as const, runs: followed }] : []),
    )
  }

  /** Its SQL is on its way before others hear of a task. */
  private async tell(claimed: FromWorker & { type: 'claimed' }): Promise<void> {
    if (claimed.isNext) return this.reportSoon(claimed)
    await new Promise(setImmediate)
    this.report(claimed)
  }

  private async attempt(claim: Claim): Promise<Attempt> {
    this.isRunning = true
    try {
      const { next, ...execution } = await execute(this.session, claim, this.successor)
      if (next) this.follow(next)
      return { state: 'finished', ...execution }
    } catch (error) {
      if (this.session.database.lost) throw error
      return await this.recordFailure(claim, error as Error)
    } finally {
      this.isRunning = false
    }
  }

  private follow({ claim, waitMs, lookMs, leavesSlot }: Claimed): void {
    this.claimed = claim
    this.isEmpty = !claim && waitMs === null
    this.isNext = !leavesSlot
    if (lookMs !== null) this.noteLook(lookMs)
  }

  private noteLook(ms: number | null): void {
    this.lookAgainAt = performance.now() + Math.max(NEAR_MS, LOOKS_SHARE * (ms ?? 0))
  }

  /** Records the attempt's end before anything else is claimed, so that a late cancel cannot hit the next task. */
  private async recordFailure(claim: Claim, error: Error): Promise<Attempt> {
    const taskError = toTaskError(error)
    if (error instanceof OwnStatementError && !error.isHarmless) this.mistrust = error
    if (this.session.isInTransaction) await this.session.rollback()
    await this.session.notices.settle()
    try {
      const row = await this.record(claim, error, taskError)
      return { state: row!.state, rows: null, tag: null, error: taskError }
    } catch (failure) {
      if (failure instanceof QueueError && failure.code === 'CLAIM_LOST') {
        return { state: 'lost', rows: null, tag: null, error: taskError }
      }
      throw failure
    }
  }

  /** What is not the task's fault gives it back; an end that was asked for decides in either case. */
  private record(
    { id, token }: Claim,
    error: Error,
    taskError: TaskError,
  ): Promise<{ state: Ending['state'] } | undefined> {
    if (this.isOrphan) return persist(this.session, RELEASE, [id, token, ORPHANED])
    if (error instanceof OwnStatementError)
      return persist(this.session, RELEASE, [
        id,
        token,
        `A statement of the queue beside the task's failed: ${error.message}`,
      ])
    return persist(this.session, FAIL, [id, token, JSON.stringify(taskError)])
  }
}

function describe(claim: Claim): RunningTask {
  const { id, token, topic, attempt, timeoutInSec, waitedMs } = claim
  return { id, token, topic, attempt, timeoutInSec, waitedMs }
}

function toTaskError(error: Error): TaskError {
  if (error instanceof FinalTaskError) return error.task
  const source = (
    error instanceof QueueError && error.cause instanceof Error ? error.cause : error
  ) as Error & {
    code?: string
    detail?: string
    hint?: string
    where?: string
    position?: string
  }
  return {
    sqlstate: source.code,
    message: source.message,
    detail: source.detail,
    hint: source.hint,
    context: source.where,
    position: source.position,
  }
}
