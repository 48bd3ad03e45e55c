import { dirname, resolve } from 'node:path'
import type { FoundConfig } from '../config-file.js'
import { usageError } from '../errors.js'

/** Where a supervisor is to show its metrics; neither port nor file: nowhere. */
export interface MetricsChoice {
  /** 0: any that is free */
  port?: number | undefined
  host: string
  /** absolute */
  file?: string | undefined
}

export interface MetricsFlags {
  'metrics-port'?: string | undefined
  'metrics-host'?: string | undefined
  'metrics-file'?: string | undefined
}

/** Flags before the configuration file, whose paths begin at its folder. Errors: INVALID_VALUE. */
export function chooseMetrics(flags: MetricsFlags, found: FoundConfig | undefined): MetricsChoice {
  const { metrics_port, metrics_host, metrics_file } = found?.config ?? {}
  const port = parsePort(flags['metrics-port'] ?? metrics_port)
  for (const name of ['metrics-host', 'metrics-file'] as const)
    if (flags[name] === '')
      throw usageError('INVALID_VALUE', `Expected --${name} to be a ${WHAT[name]}, got ""`)
  if (port === undefined && flags['metrics-host'] !== undefined)
    throw usageError('INVALID_VALUE', '--metrics-host says where to listen, but no port is given', EXAMPLE)
  return {
    port,
    host: flags['metrics-host'] ?? metrics_host ?? '127.0.0.1',
    file:
      flags['metrics-file'] !== undefined
        ? resolve(flags['metrics-file'])
        : metrics_file && resolve(dirname(found!.path), metrics_file),
  }
}

const WHAT = { 'metrics-host': 'host name or address', 'metrics-file': 'path' }
const EXAMPLE = 'pgbq work --metrics-port 9187 --metrics-host 0.0.0.0'

function parsePort(value: string | number | undefined): number | undefined {
  if (value === undefined) return undefined
  if (!/^\d{1,5}$/.test(String(value)) || Number(value) > 65535)
    throw usageError(
      'INVALID_VALUE',
      `Expected --metrics-port to be a port from 1 to 65535, or 0 for any that is free, got "${value}"`,
    )
  return Number(value)
}
