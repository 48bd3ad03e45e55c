import * as Flags from '@oclif/core/flags'
import { BaseCommand } from './base-command.js'
import type { Outcome } from './engine/acting/outcome.js'
import { usageError } from './engine/errors.js'
import { parseId } from './engine/task-store.js'
import { ask } from './output/ask.js'
import { plain } from './output/plain.js'

export const yesFlag = { yes: Flags.boolean({ char: 'y', description: 'do not ask' }) }

/** What the commands that act on tasks share: several ids, a question before many, one line for each outcome. */
export abstract class ActingCommand extends BaseCommand {
  // the manifest looks only as far up as the first class without a static of its own
  static override baseFlags = BaseCommand.baseFlags

  /** Ids as typed, each once. Errors: INVALID_ID. */
  protected parseIds(argv: unknown[]): bigint[] {
    return [...new Set(argv.map((id) => parseId(String(id))))]
  }

  /** Asks on a terminal; under --json and --yes goes on. */
  protected agree(question: string, isSure: boolean): Promise<void> {
    return ask(question, isSure || this.wantsJson)
  }

  /** Prints what was done to each; exit 1 if one could not be done. */
  protected report(tasks: Outcome[]): void {
    this.print({ tasks }, tasks.map((task) => plain(task.message)).join('\n'))
    if (tasks.some((task) => !task.done)) process.exitCode = 1
  }
}

/** '' for tasks without topic; undefined: all. Errors: INVALID_TOPIC. */
export function topicsOf(flags: {
  topic?: string[] | undefined
  'no-topic'?: boolean | undefined
}): string[] | undefined {
  const topics = [...(flags.topic ?? []), ...(flags['no-topic'] ? [''] : [])]
  const long = topics.find((topic) => [...topic].length > 200)
  if (long !== undefined)
    throw usageError('INVALID_TOPIC', `Expected a topic of 1 to 200 characters, got ${[...long].length}`)
  return topics.length > 0 ? [...new Set(topics)] : undefined
}

/** 1 task, 2,345 tasks. */
export const countOf = (count: bigint | number, noun: string): string =>
  `${count.toLocaleString('en')} ${noun}${Number(count) === 1 ? '' : 's'}`
