/** What completion knows of a command; oclif's manifest has it. */
export interface KnownCommand {
  id: string
  summary?: string | undefined
  description?: string | undefined
  hidden?: boolean | undefined
  flags: Record<string, KnownFlag>
  args: Record<string, { name: string; options?: readonly string[] | undefined }>
}

export interface KnownFlag {
  name: string
  char?: string | undefined
  type: string
  summary?: string | undefined
  description?: string | undefined
  hidden?: boolean | undefined
  multiple?: boolean | undefined
  options?: readonly string[] | undefined
}

export interface Candidate {
  value: string
  text?: string | undefined
}

/** What the database or the file system has to name. */
export type Wanted = 'topics' | 'parameters' | 'tasks' | 'open-tasks' | 'closed-tasks' | 'files'

export interface Completion {
  candidates: Candidate[]
  wanted?: Wanted | undefined
  /** what stands before a value in the same word, as in --topic=mail */
  before: string
  /** the part of the value that is typed */
  typed: string
}

/** What can stand where the last of these words is being typed. The name of the program is not among them. */
export function complete(words: string[], commands: KnownCommand[]): Completion {
  const done = words.slice(0, -1)
  const typed = words.at(-1) ?? ''
  const { command, depth } = findCommand(done, commands)
  if (command !== undefined && !done.includes('--')) {
    const flags = Object.values(command.flags).filter((flag) => !flag.hidden)
    const [, name, value] = /^(--[^=]+)=(.*)$/s.exec(typed) ?? []
    const open = findFlag(flags, name ?? done.at(-1) ?? '')
    if (open?.type === 'option') return valuesOf(open, name === undefined ? '' : `${name}=`, value ?? typed)
    if (typed.startsWith('-')) return { candidates: flagsFor(flags, done), before: '', typed }
  }
  const below = subcommands(done.slice(0, depth), commands)
  if (command === undefined || (below.length > 0 && done.length === depth))
    return { candidates: below, before: '', typed }
  return { ...argument(command, done.slice(depth)), before: '', typed }
}

/** The command with the longest name that the words begin with. */
function findCommand(words: string[], commands: KnownCommand[]): { command?: KnownCommand; depth: number } {
  for (let depth = words.length; depth > 0; depth--) {
    const command = commands.find((c) => c.id === words.slice(0, depth).join(':'))
    if (command) return { command, depth }
  }
  return { depth: words.length }
}

function subcommands(path: string[], commands: KnownCommand[]): Candidate[] {
  const at = path[0] === 'help' ? path.slice(1) : path
  const found = new Map<string, Candidate>()
  for (const { id, summary, description, hidden } of commands) {
    const parts = id.split(':')
    if (hidden || parts.length <= at.length || at.some((word, i) => parts[i] !== word)) continue
    const value = parts[at.length]!
    const isWhole = parts.length === at.length + 1
    if (isWhole || !found.has(value))
      found.set(value, { value, text: isWhole ? (summary ?? description) : found.get(value)?.text })
  }
  return [...found.values()]
}

const findFlag = (flags: KnownFlag[], word: string): KnownFlag | undefined =>
  flags.find((flag) => word === `--${flag.name}` || (flag.char !== undefined && word === `-${flag.char}`))

function flagsFor(flags: KnownFlag[], done: string[]): Candidate[] {
  const isGiven = ({ name }: KnownFlag) =>
    done.some((word) => word === `--${name}` || word.startsWith(`--${name}=`))
  return flags
    .filter((flag) => flag.multiple || !isGiven(flag))
    .map((flag) => ({ value: `--${flag.name}`, text: flag.summary ?? flag.description }))
}

const FILE_FLAGS = ['config', 'file', 'log-file', 'metrics-file']

function valuesOf(flag: KnownFlag, before: string, typed: string): Completion {
  const candidates = (flag.options ?? []).map((value) => ({ value }))
  const wanted = flag.name === 'topic' ? 'topics' : FILE_FLAGS.includes(flag.name) ? 'files' : undefined
  return { candidates, wanted, before, typed }
}

/** A command's first argument; others are anybody's text. */
function argument({ id, args }: KnownCommand, given: string[]): Pick<Completion, 'candidates' | 'wanted'> {
  const [first] = Object.values(args)
  if (first === undefined) return { candidates: [] }
  const tasks = id === 'cancel' ? 'open-tasks' : id === 'retry' ? 'closed-tasks' : 'tasks'
  if (/^ids?$/.test(first.name)) return { candidates: [], wanted: tasks }
  if (given.some((word) => !word.startsWith('-'))) return { candidates: [] }
  if (id.startsWith('config:')) return { candidates: [], wanted: 'parameters' }
  return { candidates: (first.options ?? []).map((value) => ({ value })) }
}
