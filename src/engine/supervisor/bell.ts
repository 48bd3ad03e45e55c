/** A pause that any note ends, also one that was taken before it began. */
export class Bell {
  private isRung = false
  private endPause: (() => void) | undefined

  ring(): void {
    this.isRung = true
    this.endPause?.()
  }

  /** Until the bell rings, or this time on the clock of performance.now(). */
  async pause(until: number): Promise<void> {
    if (!this.isRung) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, Math.max(1, until - performance.now()))
        this.endPause = () => {
          clearTimeout(timer)
          resolve()
        }
      })
      this.endPause = undefined
    }
    this.isRung = false
  }
}
