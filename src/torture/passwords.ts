import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'

/** A password file, in libpq's form, for the roles that were made, in front of what the user's own one says. */
export class Passwords {
  readonly file: string
  private readonly known: Map<string, string>

  constructor(folder: string, known: Map<string, string>) {
    this.file = join(folder, 'pgpass')
    this.known = known
    this.write()
  }

  of(role: string): string | undefined {
    return this.known.get(role)
  }

  private write(): void {
    const own = [...this.known].map(([role, password]) => `*:*:*:${role}:${password}\n`)
    const users = process.env.PGPASSFILE || join(homedir(), '.pgpass')
    writeFileSync(this.file, own.join('') + (existsSync(users) ? readFileSync(users, 'utf8') : ''), {
      mode: 0o600,
    })
  }
}
