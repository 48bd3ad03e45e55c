import { Command, Errors, Flags } from '@oclif/core'
import { Database } from './engine/database/database.js'
import { type ConnectionTarget, chosenUrl, resolveTarget } from './engine/database/target.js'
import { QueueError, usageError } from './engine/errors.js'
import { install, requireInstalled } from './engine/migrator.js'
import { toJson } from './output/json.js'

export interface ConnectionFlags {
  'database-url'?: string | undefined
  embedded?: boolean | undefined
  config?: string | undefined
  schema?: string | undefined
}

/** An open queue: a session, and the schema it stands in. */
export interface OpenQueue {
  database: Database
  schema: string
}

/** Flags, connection, output and exit codes that all commands share. */
export abstract class BaseCommand extends Command {
  static override baseFlags = {
    json: Flags.boolean({ description: 'print the result as JSON', helpGroup: 'GLOBAL' }),
    'database-url': Flags.string({
      description: 'connect to this server: postgresql://user@host/database, or "embedded"',
      helpGroup: 'GLOBAL',
    }),
    embedded: Flags.boolean({
      description: 'use the embedded PostgreSQL, started on demand',
      helpGroup: 'GLOBAL',
      exclusive: ['database-url'],
    }),
    config: Flags.string({ description: 'read this configuration file', helpGroup: 'GLOBAL' }),
    schema: Flags.string({ description: 'schema of the queue', helpGroup: 'GLOBAL' }),
  }

  private opened: Database | undefined

  /** Where to connect, from flags, environment and file; starts the embedded server where that is named. */
  protected async findTarget(
    flags: ConnectionFlags,
  ): Promise<{ target: ConnectionTarget; isEmbedded: boolean }> {
    const { readConfigFile } = await import('./engine/config-file.js')
    const file = (await readConfigFile(flags.config))?.config
    const url = flags.embedded
      ? 'embedded'
      : chosenUrl({ flag: flags['database-url'], file: file?.database_url })
    if (url !== 'embedded') return { target: resolveTarget(url), isEmbedded: false }
    const { startEmbedded } = await import('./embedded/server.js')
    const server = await startEmbedded({ onProgress: (message) => this.note(message) })
    return { target: resolveTarget(server.url), isEmbedded: true }
  }

  /** A session, whether the queue is installed or not; on the embedded server it is installed at once. */
  protected async connect(flags: ConnectionFlags): Promise<Database> {
    const { target, isEmbedded } = await this.findTarget(flags)
    this.opened = await Database.connect(target, { applicationName: 'pgbq' })
    if (isEmbedded) await install(this.opened, { schema: flags.schema })
    this.opened.onNotice((notice) => {
      if (notice.severity === 'WARNING') this.note(`Warning: ${notice.message}`)
    })
    return this.opened
  }

  /** A session on an installed queue of this version. */
  protected async openQueue(flags: ConnectionFlags): Promise<OpenQueue> {
    const database = await this.connect(flags)
    const schema = await requireInstalled(database)
    if (flags.schema !== undefined && flags.schema !== schema) {
      throw new QueueError(
        'OTHER_SCHEMA',
        `The queue of this database is in schema "${schema}", not in "${flags.schema}"`,
        {
          hint: `leave --schema out, or say --schema ${schema}`,
        },
      )
    }
    return { database, schema }
  }

  /** The result alone on stdout: as JSON where asked, else as text. */
  protected print(json: unknown, text: string): void {
    this.log(this.wantsJson ? toJson(json) : text)
  }

  /** Everything that is not the result goes to stderr. */
  protected note(message: string): void {
    process.stderr.write(`${message}\n`)
  }

  protected get wantsJson(): boolean {
    return this.argv.includes('--json')
  }

  override async catch(error: Error & { oclif?: { exit?: number } }): Promise<void> {
    if (error instanceof Errors.ExitError) throw error
    const failure = toQueueError(error)
    const { code, message, hint } = failure
    if (this.wantsJson) this.log(toJson({ error: { code, message, hint: hint ?? null } }))
    else {
      this.note(`Error: ${message}`)
      if (hint) this.note(`Try this: ${hint}`)
    }
    process.exitCode = failure.usage ? 2 : 1
  }

  override async finally(): Promise<void> {
    await this.opened?.close()
  }
}

/** Wrong flags are usage errors; what the server said beyond our rules is passed on with its SQLSTATE. */
function toQueueError(
  error: Error & { oclif?: { exit?: number }; code?: string; hint?: string },
): QueueError {
  if (error instanceof QueueError) return error
  if (error instanceof Errors.CLIError)
    return usageError('USAGE', firstParagraph(error.message), 'add --help')
  return new QueueError(error.code ?? 'UNEXPECTED', error.message, { hint: error.hint, cause: error })
}

function firstParagraph(text: string): string {
  return text.replace(/\nSee more help with --help\n?/, '').trim()
}
