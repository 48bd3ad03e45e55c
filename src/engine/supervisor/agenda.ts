import { Bell } from './bell.js'

export const TICK_MS = 1000
export const TICK_AFTER_NOTIFY_MS = 100
const MAX_CONTENDED_MS = 100

/** When to look next, on the clock of performance.now(); notes that come in between end the pause. */
export class Agenda {
  private readonly bell = new Bell()
  private tickAt = 0
  private dueAt = Number.POSITIVE_INFINITY
  private contendedMs = 0
  private lastWorkAt = performance.now()

  ring(): void {
    this.bell.ring()
  }

  get isTickDue(): boolean {
    return performance.now() >= this.tickAt
  }

  /** The next tick, counted from now. */
  tickIn(delayMs: number): void {
    this.tickAt = performance.now() + delayMs
  }

  /** A tick before its time, but not two in a row without this pause. */
  tickSoon(delayMs: number): void {
    this.tickAt = Math.min(this.tickAt, Math.max(performance.now(), this.tickAt - TICK_MS + delayMs))
    this.ring()
  }

  /** When some task will be due, as a tick knows it; null: none waits. */
  setDue(inMs: number | null): void {
    this.dueAt = inMs === null ? Number.POSITIVE_INFINITY : performance.now() + inMs
  }

  /** The same as one worker knows it. 0: a task is due but somebody holds it, mostly for a moment, maybe for hours. */
  noteDue(inMs: number): void {
    if (inMs === 0) this.contendedMs = Math.min(this.contendedMs * 2 + 1, MAX_CONTENDED_MS)
    this.dueAt = Math.min(this.dueAt, performance.now() + (inMs || this.contendedMs))
  }

  noteClaim(): void {
    this.contendedMs = 0
  }

  /** True once when the time has come. */
  takeDue(): boolean {
    const isDue = performance.now() >= this.dueAt
    if (isDue) this.dueAt = Number.POSITIVE_INFINITY
    return isDue
  }

  noteWork(): void {
    this.lastWorkAt = performance.now()
  }

  get idleForMs(): number {
    return performance.now() - this.lastWorkAt
  }

  get nextAt(): number {
    return Math.min(this.tickAt, this.dueAt)
  }

  /** Until the first of these times, a note, or a tick's time has passed. */
  pause(...times: number[]): Promise<void> {
    return this.bell.pause(Math.min(...times, performance.now() + TICK_MS))
  }
}
