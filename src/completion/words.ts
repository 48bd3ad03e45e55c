/** The words of a line as a shell splits them, quotes and backslashes taken away; the last one is being typed. */
export function splitLine(line: string): string[] {
  const words: string[] = []
  let word = ''
  let quote = ''
  for (let i = 0; i < line.length; i++) {
    const c = line[i]!
    if (quote === '' && /\s/.test(c)) {
      if (word !== '' || /['"]/.test(line[i - 1] ?? '')) words.push(word)
      word = ''
    } else if (c === '\\' && quote !== "'") word += line[++i] ?? ''
    else if (quote === '' && (c === '"' || c === "'")) quote = c
    else if (c === quote) quote = ''
    else word += c
  }
  return [...words, word]
}
