import { CommandHelp, Help } from '@oclif/core/help'

const ORDER = ['USAGE', 'DESCRIPTION', 'ARGUMENTS', 'FLAGS', 'GLOBAL FLAGS', 'EXAMPLES']

/** Help in the order of a man page: what it is, how it is called, what it does, options, examples. */
class OrderedCommandHelp extends CommandHelp {
  protected override sections() {
    const sections = super.sections()
    const known = ORDER.flatMap((name) => sections.filter(({ header }) => header === name))
    return [...known, ...sections.filter(({ header }) => !ORDER.includes(header))]
  }
}

export default class OrderedHelp extends Help {
  protected override CommandHelpClass = OrderedCommandHelp
}
