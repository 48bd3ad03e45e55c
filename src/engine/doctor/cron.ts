import { execFile } from 'node:child_process'
import { psqlCommand } from '../shell-word.js'
import { namedQuery } from '../sql-files.js'
import { type Finding, ok, type Patient, warning } from './check.js'

interface Job extends Record<string, unknown> {
  id: bigint
  schedule: string
  command: string
  is_active: boolean
  last: string | null
}

/** Jobs of pg_cron that call the queue, where it is. */
export async function checkPgCron({ database }: Patient): Promise<Finding | Finding[]> {
  const { is_here, elsewhere } = await database.one<{ is_here: boolean; elsewhere: string | null }>(
    namedQuery('pg_cron'),
  )
  if (!is_here) return ok(`pg_cron is not in this database${elsewhere ? `; it works in "${elsewhere}"` : ''}`)
  const jobs = await database.query<Job>(namedQuery('pg_cron_jobs'))
  if (jobs.length === 0) return ok('pg_cron is here and calls nothing of the queue')
  return jobs.map(sayJob)
}

function sayJob({ id, schedule, is_active, last }: Job): Finding {
  const job = `The job ${id} of pg_cron (${schedule})`
  if (!is_active) return warning(`${job} is off`, psqlCommand(`SELECT cron.alter_job(${id}, active := true)`))
  if (last?.startsWith('failed'))
    return warning(`${job} ${last}`, psqlCommand(`SELECT * FROM cron.job_run_details WHERE jobid = ${id}`))
  return ok(`${job} calls the queue${last === null ? '' : ', and its last run succeeded'}`)
}

/** Entries of this user's crontab that call pgbq. */
export async function checkCrontab(): Promise<Finding> {
  const table = await readCrontab()
  if (table === undefined) return ok('There is no program "crontab" on this host')
  const entries = table.split('\n').filter((line) => /^[^#]*\b(pgbq|pg-background-queue)\b/.test(line))
  if (entries.length === 0) return ok("No entry of this user's crontab calls pgbq")
  const ensures = entries.find((line) => /ensure-workers/.test(line))
  return ensures === undefined
    ? warning(
        `The crontab calls pgbq, but not ensure-workers: ${entries[0]}`,
        '* * * * * pgbq ensure-workers, in crontab -e',
      )
    : ok(`The crontab has: ${ensures.trim()}`)
}

/** undefined: the program is not there; '' also where this user has none. */
function readCrontab(): Promise<string | undefined> {
  return new Promise((resolve) => {
    execFile('crontab', ['-l'], { timeout: 5000 }, (error, stdout) => {
      const isMissing = ['ENOENT', 'EACCES'].includes(String((error as NodeJS.ErrnoException | null)?.code))
      resolve(isMissing ? undefined : stdout)
    })
  })
}
