import { type ChildProcess, spawn } from 'node:child_process'
import { join } from 'node:path'
import { PACKAGE_ROOT } from '../package-root.js'

export const PGBQ = join(PACKAGE_ROOT, 'bin', 'run.js')

/** Nothing outlives the bench, whatever ends it. Their workers go with them. */
const living = new Set<ChildProcess>()
process.on('exit', () => {
  for (const supervisor of living) supervisor.kill('SIGKILL')
})

/** One `pgbq work` as a user starts it. After its first words its log is read and thrown away, for that costs least. */
export class PgbqWork {
  private readonly supervisor: ChildProcess
  private readonly exited: Promise<void>
  private hasLeft = false
  private errors = ''

  private constructor(url: string, args: string[]) {
    this.supervisor = spawn(process.execPath, [PGBQ, 'work', '--json', ...args], {
      env: { ...process.env, PGBQ_DATABASE_URL: url },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    living.add(this.supervisor)
    this.exited = new Promise((resolve) =>
      this.supervisor.once('close', () => {
        living.delete(this.supervisor)
        this.hasLeft = true
        resolve()
      }),
    )
    this.supervisor.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.errors += text
    })
  }

  /** Resolves when it has said that it is ready. */
  static async start(url: string, args: string[]): Promise<PgbqWork> {
    const work = new PgbqWork(url, args)
    const output = work.supervisor.stdout!.setEncoding('utf8')
    let said = ''
    await new Promise<void>((resolve, reject) => {
      output.on('data', (text: string) => {
        said += text
        if (/"event":"ready"/.test(said)) resolve()
      })
      void work.exited.then(() => reject(work.leftError()))
    })
    output.removeAllListeners('data').resume()
    return work
  }

  get pid(): number {
    return this.supervisor.pid!
  }

  /** Errors: it left unasked, with what it said. */
  check(): void {
    if (this.hasLeft) throw this.leftError()
  }

  async stop(): Promise<void> {
    if (!this.hasLeft) this.supervisor.kill('SIGTERM')
    await this.exited
  }

  private leftError(): Error {
    return new Error(`pgbq work left unasked: ${this.errors}`)
  }
}
