import * as Flags from '@oclif/core/flags'

/** For commands that list: what stdout gets. --json is --output json. */
export const outputFlags = {
  output: Flags.string({
    description: 'print a table, JSON or CSV (default: table)',
    options: ['table', 'json', 'csv'],
    exclusive: ['json'],
  }),
}

/** For commands that show times to people. */
export const timeFlags = {
  time: Flags.string({
    description: 'times in UTC, or as distances from now (default: relative on a terminal)',
    options: ['relative', 'absolute'],
  }),
}
