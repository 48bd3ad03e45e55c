import { parseStatements } from './worker/parser.js'

/** Every line is parsed up to here; behind it only those whose shape was not seen before. */
const PARSED_LINES = 1000
const MAX_SHAPES = 10_000

const knownShapes = new Set<string>()

/**
 * Whether a line is SQL that stands for itself. Generated files repeat a few shapes, so a line that differs from an
 * accepted one only in simple literals is accepted without parsing it again, and without a promise.
 */
export function isWholeStatement(line: string, number: number): true | Promise<boolean> {
  const shape = shapeOf(line)
  if (number > PARSED_LINES && shape !== undefined && knownShapes.has(shape)) return true
  return parsesWhole(line, shape)
}

async function parsesWhole(line: string, shape: string | undefined): Promise<boolean> {
  const statements = await parseStatements(line)
  if (statements === undefined || statements.length === 0) return false
  if (shape !== undefined && knownShapes.size < MAX_SHAPES) knownShapes.add(shape)
  return true
}

/** The line without the insides of its plain literals; undefined where quoting is more than that. */
function shapeOf(line: string): string | undefined {
  if (/[\\$]|--|\/\*|[eEuUbBxXnN&]'/.test(line)) return undefined
  return line.replace(/'(?:[^']|'')*'/g, "''").replace(/\b\d+(?:\.\d+)?\b/g, '0')
}
