import { closest, distance } from 'fastest-levenshtein'

/** The known word that somebody may have meant; undefined where none is near enough. */
export function nearest(word: string, known: string[]): string | undefined {
  if (known.length === 0) return undefined
  const near = closest(word, known)
  const isPart = word.length >= 3 && near.startsWith(word)
  return isPart || distance(word, near) <= Math.ceil(word.length / 3) ? near : undefined
}
