import { usageError } from './errors.js'

/** The SQL of a task before it is sent. Errors: BLANK_SQL, NUL_BYTE. */
export function checkSql(text: string | undefined): string {
  if (text === undefined || text.trim() === '') {
    throw usageError('BLANK_SQL', 'The SQL of the task is missing or blank', "pgbq enqueue 'SELECT 1'")
  }
  if (text.includes('\0')) {
    throw usageError(
      'NUL_BYTE',
      'The SQL of the task has a NUL byte, which PostgreSQL cannot hold',
      "tr -d '\\0' < FILE | pgbq enqueue -",
    )
  }
  return text
}
