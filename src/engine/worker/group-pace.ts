/** A group's transaction is to be over in four fifths of the time that it may take, where tasks go on as they did. */
const AIM_MS = 40
/** Before anything is known of a topic's tasks. */
const FIRST_MS = 2
const WEIGHT_OF_NEW = 0.3
/** Topics that are remembered to say something. */
const MOST_HEARD = 100

/** How long the tasks of a topic take: a group has as many as are likely to be over soon. */
export class GroupPace {
  private topic: string | null | undefined
  private ms = FIRST_MS
  private readonly heard = new Set<string | null>()

  /** How many tasks of this topic may follow one in its transaction. */
  room(topic: string | null): number {
    return Math.floor(AIM_MS / (topic === this.topic ? this.ms : FIRST_MS))
  }

  /** Whether tasks of this topic raise notices: of several that run in one call, it cannot be told whose they are. */
  isHeard(topic: string | null): boolean {
    return this.heard.has(topic)
  }

  hear(topic: string | null): void {
    if (this.heard.size >= MOST_HEARD) this.heard.clear()
    this.heard.add(topic)
  }

  /** `ms`: what one task took, with its part of the commit. */
  note(topic: string | null, ms: number): void {
    this.ms = topic === this.topic ? this.ms + WEIGHT_OF_NEW * (ms - this.ms) : ms
    this.topic = topic
  }
}
