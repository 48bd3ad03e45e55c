const BARS = '▁▂▃▄▅▆▇█'

/** The values in `width` columns, summed up where there are more; the highest sum is a full bar. */
export function sparkline(values: number[], width: number): string {
  const size = Math.ceil(values.length / width)
  const sums = Array.from({ length: Math.ceil(values.length / size) }, (_, i) =>
    values.slice(i * size, (i + 1) * size).reduce((sum, value) => sum + value, 0),
  )
  const most = Math.max(...sums)
  return sums
    .map((sum) => (sum === 0 ? BARS[0] : BARS[Math.max(1, Math.round((sum / most) * (BARS.length - 1)))]))
    .join('')
}
