import { readFileSync, writeFileSync } from 'node:fs'

/** Puts `content` between `<!-- name -->` and `<!-- namestop -->` of a file. Errors: the marks are not there, once. */
export function writeBetweenMarks(file: string, name: string, content: string): void {
  writeFileSync(file, betweenMarks(readFileSync(file, 'utf8'), name, content))
}

export function betweenMarks(text: string, name: string, content: string): string {
  const [start, stop] = [`<!-- ${name} -->`, `<!-- ${name}stop -->`]
  const [before, rest, ...more] = text.split(start)
  const [old, after, ...others] = (rest ?? '').split(stop)
  if (old === undefined || after === undefined || more.length > 0 || others.length > 0) {
    throw new Error(`Expected "${start}" and then "${stop}" once`)
  }
  return `${before}${start}\n${content}\n${stop}${after}`
}
