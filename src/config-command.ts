import * as Flags from '@oclif/core/flags'
import { BaseCommand } from './base-command.js'
import type { Database } from './engine/database/database.js'
import { usageError } from './engine/errors.js'
import { type Parameter, readParameters, unknownParameter } from './engine/settings.js'
import { nearest } from './output/nearest.js'

/** Where a parameter stands: the whole queue, one topic, or tasks without topic. */
export interface Scope {
  lane: string
  /** as in Parameter: null the whole queue, '' tasks without topic */
  topic: string | null
  /** for messages */
  words: string
}

export const scopeFlags = {
  topic: Flags.string({ description: 'the value for this topic', exclusive: ['no-topic'] }),
  'no-topic': Flags.boolean({ description: 'the value for tasks without topic' }),
}

/** What the `config` commands share: the scope, and looking a parameter up. */
export abstract class ConfigCommand extends BaseCommand {
  // the manifest looks only as far up as the first class without a static of its own
  static override baseFlags = BaseCommand.baseFlags

  protected scope(flags: { topic?: string | undefined; 'no-topic'?: boolean | undefined }): Scope {
    if (flags['no-topic'] || flags.topic === '') return { lane: '/', topic: '', words: 'tasks without topic' }
    if (flags.topic === undefined) return { lane: '', topic: null, words: 'the queue' }
    if ([...flags.topic].length > 200) {
      throw usageError(
        'INVALID_TOPIC',
        `Expected a topic of 1 to 200 characters, got ${[...flags.topic].length}`,
      )
    }
    return { lane: `/${flags.topic}`, topic: flags.topic, words: `topic "${flags.topic}"` }
  }

  /** The value in force: the topic's own, else the queue's. Errors: UNKNOWN_PARAMETER. */
  protected async lookUp(database: Database, name: string, scope: Scope): Promise<Parameter> {
    const parameters = await readParameters(database)
    const named = parameters.filter((p) => p.name === name)
    if (named.length === 0) {
      const near = nearest(
        name,
        parameters.map((p) => p.name),
      )
      if (near === undefined) throw unknownParameter(name, parameters)
      throw usageError(
        'UNKNOWN_PARAMETER',
        `No parameter is named "${name}"`,
        `pgbq ${this.id?.replaceAll(':', ' ')} ${near}, or pgbq config`,
      )
    }
    return named.find((p) => p.topic === scope.topic) ?? named.find((p) => p.topic === null)!
  }
}
