/** Seconds as people say them: 850 ms, 3.2 s, 4 min, 2.5 h, 3 d. */
export function sayDuration(seconds: number): string {
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`
  if (seconds < 120) return `${round(seconds)} s`
  if (seconds < 7200) return `${round(seconds / 60)} min`
  if (seconds < 172_800) return `${round(seconds / 3600)} h`
  return `${round(seconds / 86_400)} d`
}

const round = (value: number): number => Math.round(value * 10) / 10
