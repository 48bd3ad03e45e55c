/** The part of pgpass that reads a file; what is around it knows only PGPASSFILE, and prints. */
declare module 'pgpass/lib/helper.js' {
  import type { Readable } from 'node:stream'

  interface Login {
    host: string | undefined
    port: number | undefined
    user: string | undefined
    database: string | undefined
  }
  const helper: {
    getPassword(login: Login, file: Readable, done: (password: string | undefined) => void): void
  }
  export default helper
}
