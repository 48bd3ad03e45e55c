import { stripVTControlCharacters } from 'node:util'

const WIDE =
  /(?!\p{Regional_Indicator})\p{Emoji_Presentation}|[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\ua960-\ua97f\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff01-\uff60\uffe0-\uffe6\u{17000}-\u{18cff}\u{1f300}-\u{1f64f}\u{1f900}-\u{1f9ff}\u{20000}-\u{3fffd}]/u
/** Marks that sit on the character before them, joiners, and variation selectors. */
const WITHOUT_WIDTH = /\p{Mn}|\p{Me}|\p{Cf}/u

/** The places of a terminal that a character takes, as its wcwidth() says; the direction of writing changes nothing. */
function characterWidth(character: string): number {
  if (character < '\u0300') return 1
  return WITHOUT_WIDTH.test(character) ? 0 : WIDE.test(character) ? 2 : 1
}

export function displayWidth(text: string): number {
  let width = 0
  for (const character of stripVTControlCharacters(text)) width += characterWidth(character)
  return width
}

/** The longest beginning of a text without colours that fits in that many places. */
export function beginning(text: string, width: number): string {
  let length = 0
  let used = 0
  for (const character of text) {
    used += characterWidth(character)
    if (used > width) break
    length += character.length
  }
  return text.slice(0, length)
}

/** The text in at most that many places of a terminal, never cut inside a character; one that is cut has no colours. */
export function shorten(text: string, width: number): string {
  if (displayWidth(text) <= width) return text
  return width < 1 ? '' : `${beginning(stripVTControlCharacters(text), width - 1)}…`
}

/** The text, filled up with blanks to that many places. */
export function pad(text: string, width: number, isRight = false): string {
  const blanks = ' '.repeat(Math.max(0, width - displayWidth(text)))
  return isRight ? blanks + text : text + blanks
}
