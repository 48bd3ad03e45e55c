import { readdirSync, readFileSync } from 'node:fs'
import { expect, test } from 'vitest'

const ROOT = new URL('../../', import.meta.url)
const README = readFileSync(new URL('README.md', ROOT), 'utf8')
const SRC = new URL('src/', ROOT)
const sources = readdirSync(SRC, { recursive: true, encoding: 'utf8' })
  .filter((path) => path.endsWith('.ts'))
  .map((path) => readFileSync(new URL(path, SRC), 'utf8'))

const found = (pattern: RegExp, group = 1): string[] =>
  sources.flatMap((text) => [...text.matchAll(pattern)].map((match) => match[group]!))

const unique = (names: string[]): string[] => [...new Set(names)].sort()

/** What errors of ours are made with: `'SOME_CODE'`, or an expression. */
const firstArguments = found(/(?:new QueueError|usageError)\(\s*([^,)]+)/g)
/** those of a class of its own */
const ofClasses = found(/super\(\s*'([A-Z_]+)'/g)
const sqlStates = sources.flatMap((text) => [...text.matchAll(/\b(PQ\d{3}): \{ code: '(\w+)'/g)])

const table = /### Errors by code\n([\s\S]*?)\n## /.exec(README)![1]!
const cells = [...table.matchAll(/^\| (`[A-Z].*?) \|/gm)].map((match) => match[1]!)
const documented = cells.flatMap((cell) => [...cell.matchAll(/`([A-Z_]+)`(?: \((PQ\d{3})\))?/g)])

test('the table of errors has every code that the program can throw, once, and no other', () => {
  const literals = firstArguments.flatMap((text) => /^'([A-Z_]+)'$/.exec(text)?.[1] ?? [])
  const thrown = unique([...literals, ...ofClasses, ...sqlStates.map((match) => match[2]!), 'UNEXPECTED'])
  expect(thrown.length).toBeGreaterThan(60)
  expect(documented.map((match) => match[1]!).sort()).toEqual(thrown)
})

test('the table of errors has the SQLSTATE of each rule of the queue', () => {
  const known = sqlStates.map((match) => `${match[2]} ${match[1]}`)
  expect(known.length).toBeGreaterThan(5)
  expect(
    documented
      .filter((match) => match[2])
      .map((match) => `${match[1]} ${match[2]}`)
      .sort(),
  ).toEqual(known.sort())
})

test('codes of errors are literals, but where the code of another error is passed on', () => {
  const expressions = firstArguments.filter((text) => !/^'/.test(text))
  const passedOn = ['error.code', "error.code ?? 'UNEXPECTED'", 'own.code']
  expect(unique(expressions)).toEqual(unique(['code', 'code: string', ...passedOn]))
})

test('every link within the README leads to a heading', () => {
  const prose = README.replace(/^```[\s\S]*?^```/gm, '')
  const headings = [...prose.matchAll(/^#{1,6} (.*)$/gm)].map((match) =>
    match[1]!
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\s_-]/gu, '')
      .replace(/ /g, '-'),
  )
  const links = [...prose.matchAll(/\]\(#([^)]+)\)/g)].map((match) => match[1]!)
  expect(links.length).toBeGreaterThan(40)
  expect(links.filter((link) => !headings.includes(link))).toEqual([])
})

test('every file that the README links to is there', () => {
  const files = [...README.matchAll(/\]\(((?:src|sql|test)[^)#]*)\)/g)].map((match) => match[1]!)
  expect(files.length).toBeGreaterThan(5)
  for (const file of files) expect(() => readdirOrRead(file), file).not.toThrow()
})

function readdirOrRead(path: string): void {
  const url = new URL(path, ROOT)
  if (/\.\w+$/.test(path)) readFileSync(url)
  else readdirSync(url)
}
