import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, normalize, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

const SRC = fileURLToPath(new URL('../../src/', import.meta.url))

interface Source {
  path: string
  text: string
  /** files of ours and packages that it imports, also lazily */
  imports: string[]
}

const sources: Source[] = readdirSync(SRC, { recursive: true, encoding: 'utf8' })
  .filter((path) => path.endsWith('.ts'))
  .map((path) => {
    const text = readFileSync(join(SRC, path), 'utf8')
    const names = [...text.matchAll(/(?:from|import\() ?'([^']+)'/g)].map((m) => m[1]!)
    return { path, text, imports: names.map((name) => resolveImport(path, name)) }
  })

function resolveImport(from: string, name: string): string {
  if (!name.startsWith('.')) return name
  return relative('.', normalize(join(dirname(from), name))).replace(/\.js$/, '.ts')
}

const offenders = (isBad: (source: Source) => boolean): string[] => sources.filter(isBad).map((s) => s.path)

test('imports run one way: commands, then output and engine, then leaves', () => {
  expect(
    offenders(
      ({ path, imports }) => !path.startsWith('commands/') && imports.some((i) => i.startsWith('commands/')),
    ),
  ).toEqual([])
  expect(
    offenders(
      ({ path, imports }) =>
        /^(engine|embedded|output)\//.test(path) &&
        imports.some((i) => /^(base-command|config-command)/.test(i)),
    ),
  ).toEqual([])
  expect(
    offenders(
      ({ path, imports }) =>
        /^(engine|embedded)\//.test(path) && imports.some((i) => i.startsWith('output/')),
    ),
  ).toEqual([])
  expect(
    offenders(
      ({ path, imports }) => path.startsWith('engine/') && imports.some((i) => i.startsWith('embedded/')),
    ),
  ).toEqual([])
})

test('only the database module imports pg', () => {
  const isValueImport = /import (?!type)[^\n]* from 'pg'/
  expect(
    offenders(({ path, text }) => !path.startsWith('engine/database/') && isValueImport.test(text)),
  ).toEqual([])
})

test('neither the engine nor the embedded server prints', () => {
  expect(
    offenders(
      ({ path, text }) => /^(engine|embedded)\//.test(path) && /console\.|process\.std(out|err)/.test(text),
    ),
  ).toEqual([])
})

test("only the worker's entry may end a process", () => {
  expect(
    offenders(({ path, text }) => path !== 'engine/worker/entry.ts' && /process\.exit\(/.test(text)),
  ).toEqual([])
})

test('the library of metrics is loaded only where somebody asked for metrics', () => {
  const isMetrics = (path: string) =>
    path.startsWith('engine/metrics/') && path !== 'engine/metrics/choice.ts'
  expect(
    offenders(({ path, text, imports }) => {
      if (isMetrics(path)) return false
      const eager = [...text.matchAll(/^import (?!type\b)[^;]*?from '([^']+)'/gm)].map((m) =>
        resolveImport(path, m[1]!),
      )
      return imports.includes('prom-client') || eager.some(isMetrics)
    }),
  ).toEqual([])
})

test("a worker's process loads nothing of the command line", () => {
  const reached = new Set<string>()
  const visit = (path: string): void => {
    if (reached.has(path)) return
    reached.add(path)
    for (const name of sources.find((s) => s.path === path)?.imports ?? []) visit(name)
  }
  visit('engine/worker/entry.ts')
  const packages = [...reached].filter((name) => !name.endsWith('.ts') && !name.startsWith('node:'))
  expect(packages.sort()).toEqual(['libpg-query', 'pg', 'pgpass/lib/helper.js'])
})

/** Files and packages that are loaded with a file at once, lazy imports left out. */
function eagerlyReached(entry: string): string[] {
  const reached = new Set<string>()
  const visit = (path: string): void => {
    if (reached.has(path)) return
    reached.add(path)
    const { text = '' } = sources.find((s) => s.path === path) ?? {}
    const names = [...text.matchAll(/^(?:import|export) (?!type\b)[^;]*?from '([^']+)'/gm)].map((m) => m[1]!)
    for (const name of names) visit(resolveImport(path, name))
  }
  visit(entry)
  return [...reached]
}

test('the library is the engine alone, and loads no package', () => {
  const reached = eagerlyReached('library.ts').filter((name) => !name.startsWith('node:'))
  expect(reached.filter((path) => !/^(engine\/.*|library)\.ts$/.test(path))).toEqual([])
  expect(reached.length).toBeGreaterThan(5)
  expect(offenders(({ imports }) => imports.includes('library.ts'))).toEqual([])
})

/** Of Node, each some milliseconds to load. */
const SLOW_PARTS = /tls|http|crypto|readline|child_process/

test('enqueue starts with what it needs alone', () => {
  const all = eagerlyReached('commands/enqueue.ts')
  expect(all.filter((name) => name.startsWith('node:') && SLOW_PARTS.test(name))).toEqual([])
  const reached = all.filter((name) => !name.startsWith('node:'))
  const oclif = ['args', 'command', 'errors', 'flags'].map((name) => `@oclif/core/${name}`)
  expect(reached.filter((name) => !name.endsWith('.ts')).sort()).toEqual([...oclif, 'pg'])
  expect(
    reached.filter((path) => /migrator|from-extension|table|parser|embedded|password/.test(path)),
  ).toEqual([])
})

test('nothing loads the whole of oclif', () => {
  expect(offenders(({ text }) => /^import (?!type\b)[^;]*?from '@oclif\/core'/m.test(text))).toEqual([])
})
