/** JSON with bigint as digits, which JSON.stringify refuses. `indent` 0 is one line. */
export function toJson(value: unknown, indent = 2, depth = 0): string {
  if (typeof value === 'bigint') return value.toString()
  if (Buffer.isBuffer(value)) return JSON.stringify(value.toString('hex'))
  if (Array.isArray(value))
    return list(
      value.map((v) => toJson(v ?? null, indent, depth + 1)),
      '[]',
      indent,
      depth,
    )
  if (value !== null && typeof value === 'object' && !('toJSON' in value)) {
    const parts: string[] = []
    for (const [key, v] of Object.entries(value))
      if (v !== undefined)
        parts.push(`${JSON.stringify(key)}:${indent ? ' ' : ''}${toJson(v, indent, depth + 1)}`)
    return list(parts, '{}', indent, depth)
  }
  return JSON.stringify(value ?? null)
}

function list(parts: string[], [open, close]: string | string[], indent: number, depth: number): string {
  if (parts.length === 0) return `${open}${close}`
  if (indent === 0) return `${open}${parts.join(',')}${close}`
  const pad = ' '.repeat(indent * (depth + 1))
  return `${open}\n${pad}${parts.join(`,\n${pad}`)}\n${' '.repeat(indent * depth)}${close}`
}
