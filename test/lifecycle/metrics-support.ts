import { expect } from 'vitest'
import type { RunningWork } from '../support/cli.js'

export interface Sample {
  name: string
  labels: Record<string, string>
  value: number
}

export interface Family {
  type: string
  help: string
  samples: Sample[]
}

const NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*/
const LABEL = /^([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\[\\"n])*)"(,|$)/

/**
 * Reads an exposition, and throws at whatever is not in the format: https://prometheus.io/docs/instrumenting/exposition_formats/
 * Every family has its HELP, then its TYPE, then its samples, and no series comes twice.
 */
export function parseExposition(text: string): Map<string, Family> {
  if (!text.endsWith('\n')) throw new Error('The last line has no end')
  const families = new Map<string, Family>()
  const seen = new Set<string>()
  let help: [string, string] | undefined
  let current = ''
  for (const line of text.split('\n').filter((l) => l !== '')) {
    const comment = /^# (HELP|TYPE) (\S+) (.+)$/.exec(line)
    if (comment?.[1] === 'HELP') help = [comment[2]!, comment[3]!]
    else if (comment) {
      current = comment[2]!
      if (help?.[0] !== current || families.has(current)) throw new Error(`Out of order: ${line}`)
      families.set(current, { type: comment[3]!, help: help[1], samples: [] })
    } else {
      const sample = parseSample(line)
      const suffix = families.get(current)?.type === 'histogram' ? '_(bucket|sum|count)' : ''
      if (!new RegExp(`^${current}${suffix}$`).test(sample.name)) throw new Error(`Out of place: ${line}`)
      const series = line.slice(0, line.lastIndexOf(' '))
      if (seen.has(series)) throw new Error(`Twice: ${series}`)
      seen.add(series)
      families.get(current)!.samples.push(sample)
    }
  }
  return families
}

function parseSample(line: string): Sample {
  const name = NAME.exec(line)?.[0]
  if (name === undefined) throw new Error(`No name: ${line}`)
  const labels: Record<string, string> = {}
  let rest = line.slice(name.length)
  if (rest.startsWith('{')) {
    const end = rest.lastIndexOf('} ')
    let inside = rest.slice(1, end)
    while (inside !== '') {
      const label = LABEL.exec(inside)
      if (!label || label[1]! in labels) throw new Error(`Bad labels: ${line}`)
      labels[label[1]!] = label[2]!.replace(/\\(.)/g, (_, c) => (c === 'n' ? '\n' : c))
      inside = inside.slice(label[0].length)
    }
    rest = rest.slice(end + 1)
  }
  if (!/^ (\d+(\.\d+)?(e[+-]\d+)?|\+Inf)$/.test(rest)) throw new Error(`Bad value: ${line}`)
  return { name, labels, value: Number(rest.slice(1)) }
}

/** The value of the one sample with just these labels. */
export function sampleValue(
  families: Map<string, Family>,
  name: string,
  labels: Record<string, string> = {},
): number | undefined {
  const all = [...families.values()].flatMap((family) => family.samples)
  const key = (of: Record<string, string>) => JSON.stringify(Object.entries(of).sort())
  return all.find((s) => s.name === name && key(s.labels) === key(labels))?.value
}

/** Where a supervisor with --metrics-port 0 says that its metrics are. */
export async function metricsUrl(work: RunningWork): Promise<string> {
  return (await work.event((e) => e.event === 'metrics')).url as string
}

export async function scrape(work: RunningWork): Promise<Map<string, Family>> {
  const response = await fetch(await metricsUrl(work))
  expect(response.status).toBe(200)
  return parseExposition(await response.text())
}

export async function healthOf(work: RunningWork): Promise<{ code: number; body: Record<string, unknown> }> {
  const response = await fetch(new URL('/healthz', await metricsUrl(work)))
  return { code: response.status, body: (await response.json()) as Record<string, unknown> }
}
