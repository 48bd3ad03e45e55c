import { readFileSync } from 'node:fs'
import { inSchema } from '../engine/sql-files.js'

const HEADING = /^-- (arena|audit) (\w+): .*$/m

/** Pieces of sql/torture.sql of one kind by their names, in the order of the file. */
export function readSections(kind: 'arena' | 'audit', schema: string): Map<string, string> {
  const file = readFileSync(new URL('../../sql/torture.sql', import.meta.url), 'utf8')
  const [, ...parts] = file.split(HEADING)
  const found = new Map<string, string>()
  for (let at = 0; at < parts.length; at += 3) {
    if (parts[at] === kind) found.set(parts[at + 1]!, inSchema(parts[at + 2]!.trim(), schema))
  }
  return found
}
