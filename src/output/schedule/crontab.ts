import { usageError } from '../../engine/errors.js'
import type { OwnCall } from '../../engine/schedule/own-call.js'

/** crontab(5) of Debian: MAX_COMMAND */
const LONGEST_COMMAND = 998

/**
 * A line of crontab(5) that makes the call once a minute; cron mails only what it says on stderr.
 * Errors: UNQUOTABLE, also where the line is longer than cron takes.
 */
export function crontabLine({ variables, words }: OwnCall): string {
  const command = [...variables.map(([name, value]) => `${name}=${word(value)}`), ...words.map(word)].join(
    ' ',
  )
  // an unescaped % ends the command there
  const line = `${command} >/dev/null`.replaceAll('%', '\\%')
  if (line.length > LONGEST_COMMAND) {
    throw usageError(
      'UNQUOTABLE',
      `The line for cron would have ${line.length} characters, cron takes ${LONGEST_COMMAND}`,
      'name the connection in ~/.config/pgbq/.pgbqrc',
    )
  }
  return `* * * * * ${line}`
}

/** For /bin/sh, without a backslash: crons do not agree about what that does in front of another character than %. */
function word(text: string): string {
  if (text.includes('\\')) throw usageError('UNQUOTABLE', `Expected no backslash in "${text}" for cron`)
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'"'"'`)}'`
}
