import { readFileSync } from 'node:fs'
import { defaultLoaders } from 'cosmiconfig'
import { expect, test, vi } from 'vitest'
import { waitFor } from '../support/wait.js'
import { type Family, sampleValue, scrape } from './metrics-support.js'
import { useQueue } from './work-support.js'

vi.setConfig({ testTimeout: 60_000 })

const queue = useQueue()
const README = readFileSync(new URL('../../README.md', import.meta.url), 'utf8')
const SECTION = /### Metrics, alerts and probes\n([\s\S]*?)\n## /.exec(README)![1]!
const block = (language: string): string =>
  new RegExp(`\`\`\`${language}\n([\\s\\S]*?)\`\`\``).exec(SECTION)![1]!

interface Rule {
  alert: string
  expr: string
  for?: string
  labels: { severity: string }
  annotations: { summary: string }
}
interface Panel {
  title: string
  gridPos: { x: number; y: number; w: number; h: number }
  targets: { expr: string }[]
}

const alerts = () =>
  (defaultLoaders['.yaml']('alerts.yaml', block('yaml')) as { groups: { rules: Rule[] }[] }).groups
const panels = () => (JSON.parse(block('json')) as { panels: Panel[] }).panels
const expressions = (): string[] => [
  ...alerts().flatMap((group) => group.rules.map((rule) => rule.expr)),
  ...panels().flatMap((panel) => panel.targets.map((target) => target.expr)),
]

/** What an expression names: series with the labels that it selects by, and labels that it groups by. */
function named(expression: string): { series: [string, string[]][]; grouped: string[] } {
  const series = [...expression.matchAll(/\b(pgbq_\w+)(?:\{([^}]*)\})?/g)].map(
    ([, name, selector = '']): [string, string[]] => [
      name!,
      [...selector.matchAll(/(\w+)\s*(?:=~|!~|!=|=)/g)].map((m) => m[1]!),
    ],
  )
  const grouped = [...expression.matchAll(/\b(?:by|on|without) \(([^)]*)\)/g)].flatMap((m) =>
    m[1]!.split(/,\s*/),
  )
  return { series, grouped }
}

/** Labels that Prometheus adds to whatever it scrapes. */
const ADDED = ['job', 'instance']

async function exposed(): Promise<Map<string, Family>> {
  await queue.enqueue('select 1', { topic: 'a' })
  const work = await queue.work(['--metrics-port', '0'])
  return waitFor('the run to be counted', async () => {
    const families = await scrape(work)
    return sampleValue(families, 'pgbq_task_duration_seconds_count', { topic: 'a' }) === 1 && families
  })
}

test('the metrics, labels and outcomes that alerts and dashboard use are those that a supervisor shows', async () => {
  const families = await exposed()
  const samples = [...families.values()].flatMap((family) => family.samples)
  const labelsOf = (name: string) =>
    new Set(samples.filter((s) => s.name === name).flatMap((s) => Object.keys(s.labels)))
  for (const expression of expressions()) {
    const { series, grouped } = named(expression)
    expect(series.length, expression).toBeGreaterThan(0)
    const known = [...series.flatMap(([name]) => [...labelsOf(name)]), ...ADDED]
    expect(
      grouped.filter((label) => !known.includes(label)),
      expression,
    ).toEqual([])
    for (const [name, labels] of series) {
      expect(
        samples.map((s) => s.name),
        expression,
      ).toContain(name)
      expect(
        labels.filter((label) => ![...labelsOf(name), ...ADDED].includes(label)),
        expression,
      ).toEqual([])
    }
  }
  const outcomes = new Set(samples.flatMap((s) => s.labels.outcome ?? []))
  for (const [, values] of expressions()
    .join('\n')
    .matchAll(/outcome=~?"([^"]*)"/g))
    expect([...outcomes]).toEqual(expect.arrayContaining(values!.split('|')))
  const documented = [...SECTION.matchAll(/^\| `(pgbq_\w+)/gm)].map((m) => m[1]!)
  expect(documented.sort()).toEqual([...families.keys()].sort())
})

test('the alerts are rules that Prometheus takes, about what matters', () => {
  const rules = alerts().flatMap((group) => group.rules)
  for (const rule of rules) {
    expect(rule).toMatchObject({ alert: expect.stringMatching(/^Pgbq\w+$/), expr: expect.any(String) })
    expect(rule.for ?? '0m').toMatch(/^\d+m$/)
    expect(rule.labels.severity).toMatch(/^(page|ticket)$/)
    expect(rule.annotations.summary).toMatch(/./)
    expect(count(rule.expr, '(')).toBe(count(rule.expr, ')'))
  }
  const all = rules.map((rule) => rule.expr).join('\n')
  for (const name of ['oldest_due_age_seconds', 'task_runs_total', 'up', 'workers', 'rescues_total'])
    expect(all).toContain(`pgbq_${name}`)
})

test('the dashboard asks for one job in every panel, and no panel lies on another', () => {
  const all = panels()
  for (const name of named(all.map((p) => p.targets.map((t) => t.expr).join('\n')).join('\n')).series)
    expect(name[1]).toContain('job')
  for (const [i, { gridPos: a }] of all.entries())
    for (const { gridPos: b } of all.slice(i + 1)) {
      const isApart = a.x + a.w <= b.x || b.x + b.w <= a.x || a.y + a.h <= b.y || b.y + b.h <= a.y
      expect(isApart).toBe(true)
      expect(a.x + a.w).toBeLessThanOrEqual(24)
    }
})

const count = (text: string, character: string): number => text.split(character).length
