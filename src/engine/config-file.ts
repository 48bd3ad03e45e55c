import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { parseDuration } from './duration.js'
import { QueueError, usageError } from './errors.js'

/** What a configuration file may hold. Durations as on the command line. */
export interface FileConfig {
  database_url?: string
  /** what workers connect to, where database_url is a pooler's */
  direct_url?: string
  concurrency?: number
  warm?: number
  shutdown_timeout?: string
  idle_timeout?: string
  run_as?: 'login' | 'set-role'
  log_format?: 'text' | 'json'
  metrics_port?: number
  metrics_host?: string
  metrics_file?: string
  parameters?: Record<string, string | number | boolean>
  topics?: Record<string, Record<string, string | number | boolean>>
}

export interface FoundConfig {
  path: string
  config: FileConfig
}

const NAMES = ['.pgbqrc', '.pgbqrc.json', '.pgbqrc.yaml']
const KEYS: Record<keyof FileConfig, string> = {
  database_url: 'a text',
  direct_url: 'a text',
  concurrency: 'an integer from 1 to 64',
  warm: 'an integer from 0 to 64',
  shutdown_timeout: 'a duration such as 30s',
  idle_timeout: 'a duration such as 10m',
  run_as: '"login" or "set-role"',
  log_format: '"text" or "json"',
  metrics_port: 'a port from 0 to 65535',
  metrics_host: 'a text',
  metrics_file: 'a text',
  parameters: 'an object of parameters',
  topics: 'an object of topics of at most 200 characters, each an object of parameters',
}

/**
 * The file that --config names, or the nearest from the current folder up to the repository's root or home, or the
 * one in ~/.config/pgbq. Undefined if there is none. Errors: CONFIG_MISSING, CONFIG_INVALID with file and key.
 */
export async function readConfigFile(path?: string, from = process.cwd()): Promise<FoundConfig | undefined> {
  if (path !== undefined) {
    if (!existsSync(path))
      throw usageError('CONFIG_MISSING', `The configuration file "${path}" does not exist`)
    return load(resolve(path))
  }
  const found = await findFile(from)
  return found === undefined ? undefined : load(found)
}

/** Looking is cheap and happens at every command; the library that reads is loaded only where there is a file. */
async function findFile(from: string): Promise<string | undefined> {
  const home = homedir()
  for (let folder = resolve(from); ; folder = dirname(folder)) {
    const name = NAMES.find((n) => existsSync(join(folder, n)))
    if (name) return join(folder, name)
    const manifest = join(folder, 'package.json')
    if (existsSync(manifest) && /"pgbq"\s*:/.test(await readFile(manifest, 'utf8'))) {
      if (hasKey(await readFile(manifest, 'utf8'))) return manifest
    }
    if (existsSync(join(folder, '.git')) || folder === home || folder === dirname(folder)) break
  }
  return NAMES.map((n) => join(home, '.config', 'pgbq', n)).find((file) => existsSync(file))
}

/** A manifest that is no JSON is loaded too, to be told. */
function hasKey(manifest: string): boolean {
  try {
    return JSON.parse(manifest).pgbq !== undefined
  } catch {
    return true
  }
}

async function load(path: string): Promise<FoundConfig | undefined> {
  const { cosmiconfig } = await import('cosmiconfig')
  try {
    const result = await cosmiconfig('pgbq', { searchPlaces: [...NAMES, 'package.json'] }).load(path)
    return { path, config: check((result?.config ?? {}) as FileConfig, path) }
  } catch (error) {
    if (error instanceof QueueError) throw error
    throw usageError(
      'CONFIG_INVALID',
      `The configuration file "${path}" cannot be read: ${reason(error as Error)}`,
    )
  }
}

/** What the parsers say, without the path again and the excerpt below it. */
function reason({ message }: Error): string {
  return message.replace(/^(YAML|JSON) Error in .*:\n/, '').split('\n')[0]!
}

function check(config: FileConfig, path: string): FileConfig {
  if (config === null || typeof config !== 'object' || Array.isArray(config)) {
    throw usageError('CONFIG_INVALID', `Expected the configuration file "${path}" to hold an object`)
  }
  for (const [key, value] of Object.entries(config)) {
    const expected = KEYS[key as keyof FileConfig]
    if (expected === undefined) {
      throw usageError(
        'CONFIG_INVALID',
        `The key "${key}" in "${path}" is not known`,
        `use one of ${Object.keys(KEYS).join(', ')}`,
      )
    }
    if (!fits(key as keyof FileConfig, value)) {
      throw usageError(
        'CONFIG_INVALID',
        `Expected "${key}" in "${path}" to be ${expected}, got ${JSON.stringify(value)}`,
      )
    }
  }
  return config
}

function fits(key: keyof FileConfig, value: unknown): boolean {
  switch (key) {
    case 'concurrency':
      return Number.isInteger(value) && (value as number) >= 1 && (value as number) <= 64
    case 'warm':
      return Number.isInteger(value) && (value as number) >= 0 && (value as number) <= 64
    case 'parameters':
      return isPlain(value) && Object.values(value).every(isScalar)
    case 'topics':
      return (
        isPlain(value) &&
        Object.keys(value).every((topic) => [...topic].length <= 200 && !topic.includes('\0')) &&
        Object.values(value).every((topic) => isPlain(topic) && Object.values(topic).every(isScalar))
      )
    case 'run_as':
      return value === 'login' || value === 'set-role'
    case 'log_format':
      return value === 'text' || value === 'json'
    case 'metrics_port':
      return Number.isInteger(value) && (value as number) >= 0 && (value as number) <= 65535
    case 'metrics_host':
    case 'metrics_file':
      return typeof value === 'string' && value !== ''
    case 'database_url':
    case 'direct_url':
      return typeof value === 'string'
    default:
      return isDuration(value)
  }
}

function isDuration(value: unknown): boolean {
  if (typeof value !== 'string' && typeof value !== 'number') return false
  try {
    return parseDuration(String(value), '') >= 0
  } catch {
    return false
  }
}

const isPlain = (value: unknown): value is Record<string, unknown> =>
  value !== null && typeof value === 'object' && !Array.isArray(value)
const isScalar = (value: unknown): boolean => ['string', 'number', 'boolean'].includes(typeof value)
