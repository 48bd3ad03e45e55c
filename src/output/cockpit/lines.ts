import type { State } from '../../engine/watch/look.js'
import type { Picture } from '../../engine/watch/picture.js'

/** One picture as an object: numbers, and which of them are estimates. */
export function pictureRecord({ now, states, ends, due, supervisors, workers, queue }: Picture) {
  const names = Object.keys(states) as State[]
  const sum = (values: number[]) => values.reduce((a, b) => a + b, 0)
  return {
    time: new Date(now * 1000).toISOString(),
    states: Object.fromEntries(names.map((state) => [state, states[state].count])),
    estimated: names.filter((state) => states[state].isEstimate),
    limit: queue.limit,
    finished_last_minute: sum(ends.finished),
    failed_last_minute: sum(ends.failed),
    oldest_due_sec: due,
    supervisors,
    workers: workers.length,
  }
}

/** The same on one line, for a file or a pipe; `~` before an estimate. */
export function pictureLine(picture: Picture): string {
  const r = pictureRecord(picture)
  const states = Object.entries(r.states).map(
    ([state, count]) => `${state} ${r.estimated.includes(state as State) ? '~' : ''}${count}`,
  )
  const due = r.oldest_due_sec === null ? 'nothing due' : `oldest due ${r.oldest_due_sec.toFixed(1)} s`
  return `${r.time.slice(0, 19)}Z ${states.join(' ')}, ${due}, ${r.finished_last_minute} finished and ${r.failed_last_minute} failed in the last minute, ${r.workers} workers`
}
