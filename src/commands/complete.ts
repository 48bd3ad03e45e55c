import { text } from 'node:stream/consumers'
import * as Args from '@oclif/core/args'
import { BaseCommand, type ConnectionFlags } from '../base-command.js'
import { type Candidate, complete, type KnownCommand, type Wanted } from '../completion/candidates.js'
import { splitLine } from '../completion/words.js'

/** What the completion scripts call; it prints candidates or nothing, and never an error. */
export default class Complete extends BaseCommand {
  static override hidden = true
  static override summary = 'list what can be typed next, for the completion scripts'
  static override description =
    'Reads what is typed from stdin, for a command line may hold a password: words that end with NUL, or one line. Prints candidates with their descriptions, one a line.'
  static override examples = [`printf 'status\\0--sta\\0' | <%= config.bin %> <%= command.id %> words`]
  static override args = { form: Args.string({ options: ['words', 'line'], required: true }) }

  async run(): Promise<void> {
    const { args } = await this.parse(Complete)
    const input = await text(process.stdin)
    const words = args.form === 'line' ? splitLine(input).slice(1) : splitWords(input)
    const known = [...this.config.commands] as unknown as KnownCommand[]
    const { candidates, wanted, before, typed } = complete(words, known)
    const named = wanted === undefined || wanted === 'files' ? [] : await this.names(words, wanted)
    const lines = [...candidates, ...named]
      .filter(({ value }) => value.startsWith(typed) && !/[\p{Cc}]/u.test(value))
      .map((candidate) => toLine(before, candidate))
    this.log(
      [`:word\t${words.at(-1) ?? ''}`, ...(wanted === 'files' ? [':files\t'] : []), ...lines].join('\n'),
    )
  }

  /** From the queue that the words name; the embedded server is asked only if it runs. */
  private async names(words: string[], wanted: Wanted): Promise<Candidate[]> {
    try {
      const { quietTarget } = await import('../completion/target.js')
      const target = await quietTarget(flagsIn(words))
      if (target === undefined) return []
      const { readNames } = await import('../completion/names.js')
      return await readNames(target, wanted)
    } catch {
      return []
    }
  }

  override async catch(): Promise<void> {}
}

/** zsh and fish leave the quote of a word that is still open. */
function splitWords(input: string): string[] {
  const words = input.split('\0').slice(0, -1)
  return words.map((word, i) => (i === words.length - 1 ? word.replace(/^['"]/, '') : word))
}

function toLine(before: string, { value, text = '' }: Candidate): string {
  return `${before}${value}\t${text.replace(/[\p{Cc}]+/gu, ' ').slice(0, 80)}`
}

/** The connection flags among the words. */
function flagsIn(words: string[]): ConnectionFlags {
  const given = (name: string) =>
    words.find((word) => word.startsWith(`--${name}=`))?.slice(name.length + 3) ??
    (words.includes(`--${name}`) ? words[words.indexOf(`--${name}`) + 1] : undefined)
  return {
    'database-url': given('database-url'),
    config: given('config'),
    embedded: words.includes('--embedded'),
  }
}
