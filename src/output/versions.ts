import { findPackage } from '../embedded/programs.js'
import { schemaVersion } from '../engine/sql-files.js'

/** The program and its Node, the schema that it installs, and the PostgreSQL that it brings. */
export function sayVersions(program: string): string {
  return [program, `schema ${schemaVersion()}`, `embedded ${embeddedVersion()}`].join('\n')
}

function embeddedVersion(): string {
  try {
    return `PostgreSQL ${findPackage().version}`
  } catch {
    return 'PostgreSQL is not installed'
  }
}
