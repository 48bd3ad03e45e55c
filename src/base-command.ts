import { Command } from '@oclif/core/command'
import * as Errors from '@oclif/core/errors'
import * as Flags from '@oclif/core/flags'
import type { FileConfig } from './engine/config-file.js'
import { Database, OWN_SEARCH_PATH } from './engine/database/database.js'
import {
  type ConnectionTarget,
  chosenUrl,
  resolveTarget,
  type TargetSources,
} from './engine/database/target.js'
import { QueueError, usageError } from './engine/errors.js'
import { requireInstalled } from './engine/installed.js'
import { toCsv } from './output/csv.js'
import { toJson } from './output/json.js'
import { hidePasswords, plain } from './output/plain.js'
import type { TimeStyle } from './output/time.js'

export interface ConnectionFlags {
  'database-url'?: string | undefined
  /** of commands that need the server itself; they always have it, undefined where it is not given */
  'direct-url'?: string | undefined
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
      description:
        'connect to this server: postgresql://user@host/database, "host=… dbname=…", or "embedded"',
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
  /** whether connect() found the embedded server */
  protected isEmbedded = false

  /** Where to connect, from flags, environment and file; starts the embedded server where that is named. */
  protected async findTarget(
    flags: ConnectionFlags,
  ): Promise<{ target: ConnectionTarget; isEmbedded: boolean }> {
    for (const name of ['database-url', 'direct-url'] as const) {
      const given = flags[name] ?? 'none'
      if (given === '')
        throw usageError('INVALID_URL', `Expected --${name} to name a server, got ""`, URL_EXAMPLE)
      // ps shows a command line to everybody on this host
      if (hidePasswords(given) !== given) process.title = this.line
    }
    const { readConfigFile } = await import('./engine/config-file.js')
    const file = (await readConfigFile(flags.config))?.config
    const url = flags.embedded ? 'embedded' : chosenUrl(this.sources(flags, file))
    if (url !== 'embedded') return { target: resolveTarget(url), isEmbedded: false }
    const { startEmbedded } = await import('./embedded/server.js')
    const server = await startEmbedded({ onProgress: (message) => this.note(message) })
    return { target: resolveTarget(server.url), isEmbedded: true }
  }

  /** What may name the server; --direct-url and its like count only for commands that have it. */
  protected sources(flags: ConnectionFlags, file: FileConfig | undefined): TargetSources {
    const direct = this.ctor.flags?.['direct-url'] && { flag: flags['direct-url'], file: file?.direct_url }
    return { flag: flags['database-url'], file: file?.database_url, direct }
  }

  /** A session, whether the queue is installed or not; on the embedded server it is installed at once. */
  protected async connect(flags: ConnectionFlags): Promise<Database> {
    const { target, isEmbedded } = await this.findTarget(flags)
    this.isEmbedded = isEmbedded
    this.opened = await Database.connect(target, {
      applicationName: 'pgbq',
      settings: { search_path: OWN_SEARCH_PATH },
    })
    if (isEmbedded) {
      const { install } = await import('./engine/migrator.js')
      await install(this.opened, { schema: flags.schema })
    }
    this.opened.onNotice(({ severity, message }) => {
      if (severity === 'WARNING') this.warnOnce(message)
    })
    return this.opened
  }

  private readonly warnings = new Set<string>()

  /** What the server warns of; it repeats itself where a command asks twice. */
  protected warnOnce(message: string): void {
    if (this.warnings.has(message)) return
    this.warnings.add(message)
    this.note(`Warning: ${plain(message)}`)
  }

  /** A session on an installed queue of this version. */
  protected async openQueue(flags: ConnectionFlags): Promise<OpenQueue> {
    const database = await this.connect(flags)
    const schema = await requireInstalled(database)
    if (flags.schema !== undefined && flags.schema !== schema) {
      throw new QueueError(
        'OTHER_SCHEMA',
        `The queue of this database is in schema "${schema}", not in "${flags.schema}"`,
        { hint: `${this.line} --schema ${schema}` },
      )
    }
    return { database, schema }
  }

  /** The result alone on stdout: as JSON where asked, else as text. */
  protected print(json: unknown, text: string): void {
    this.log(this.wantsJson ? this.format(json) : text)
  }

  protected format(json: unknown): string {
    return toJson(json)
  }

  /** The result of a command that lists, in the form that --output names; `columns` are of the CSV. */
  protected printRows(
    output: string | undefined,
    result: { json: unknown; columns: string[]; rows: Record<string, unknown>[]; text: () => string },
  ): void {
    if (output === 'csv') this.log(toCsv(result.columns, result.rows))
    else this.log(this.wantsJson ? toJson(result.json) : result.text())
  }

  /** How times are shown to people; distances are the server's. */
  protected async timeStyle(database: Database, chosen: string | undefined): Promise<TimeStyle> {
    if ((chosen ?? (process.stdout.isTTY ? 'relative' : 'absolute')) === 'absolute') {
      return (await import('./output/time.js')).ABSOLUTE
    }
    const { now } = await database.one<{ now: string }>('select clock_timestamp() as now')
    return { style: 'relative', now }
  }

  /** Everything that is not the result goes to stderr. */
  protected note(message: string): void {
    process.stderr.write(`${message}\n`)
  }

  protected get wantsJson(): boolean {
    const end = this.argv.indexOf('--')
    const flags = this.argv.slice(0, end === -1 ? undefined : end)
    const isJsonOutput = flags.some(
      (flag, i) => flag === '--output=json' || (flag === 'json' && flags[i - 1] === '--output'),
    )
    return flags.includes('--json') || (isJsonOutput && this.ctor.flags?.output !== undefined)
  }

  override async catch(error: Error & { oclif?: { exit?: number } }): Promise<void> {
    if (error instanceof Errors.ExitError) throw error
    const { toQueueError } = await import('./output/failure.js')
    const failure = toQueueError(error, this.line, { ...this.ctor.baseFlags, ...this.ctor.flags })
    const { code, hint } = failure
    const message = hidePasswords(failure.message)
    if (this.wantsJson) this.log(this.format({ error: { code, message, hint: hint ?? null } }))
    else {
      this.note(`Error: ${plain(message)}`)
      if (hint) this.note(`Try this: ${plain(hint)}`)
    }
    process.exitCode = failure.usage ? 2 : 1
  }

  override async finally(): Promise<void> {
    await this.opened?.close()
  }

  /** This command as it is typed. */
  private get line(): string {
    return ['pgbq', ...(this.id ?? '').split(':')].join(' ').trim()
  }
}

/** For commands that need the server itself. */
export const directUrlFlag = Flags.string({
  description: 'connect to this server, past the pooler that the other settings name',
  exclusive: ['embedded'],
})

const URL_EXAMPLE = 'pgbq status --database-url postgresql://user@host/database'
