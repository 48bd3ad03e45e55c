/** So many topics have series of their own: a topic is anything that somebody enqueues, and a series is for ever. */
export const MOST_TOPICS = 100
export const OTHER_TOPICS = '(other)'

/**
 * What topics are called in metrics. The first ones keep their names for as long as the process lives, so that no
 * series changes its meaning; all later ones are one. Tasks without topic have an empty label.
 */
export class TopicLabels {
  private readonly named = new Set<string>()

  of(topic: string | null): string {
    const name = topic ?? ''
    if (this.named.has(name)) return name
    if (this.named.size >= MOST_TOPICS) return OTHER_TOPICS
    this.named.add(name)
    return name
  }
}
