import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test, vi } from 'vitest'
import { install } from '../../src/engine/migrator.js'
import { pgbq } from '../support/cli.js'
import { debianPrograms, useServer } from '../support/own-server.js'
import { waitFor } from '../support/wait.js'

/** pg_cron looks once a minute, so the one run that proves it may take as long. */
vi.setConfig({ testTimeout: 150_000 })

const programs = debianPrograms().find(({ lib }) => existsSync(join(lib!, 'pg_cron.so')))
const TITLE = "runs both of the documentation's schedules, which repair and wake the queue"

const ENSURE = `-- 每分钟检查一次工作进程
SELECT cron.schedule(
    'pg_background_queue_ensure_workers',
    '* * * * *',
    'SELECT pg_background_queue_ensure_workers();'
);`
const CALIBRATE = `-- 可选:每 5 分钟校准一次工作进程数
-- 这将内部计数器与实际运行的进程同步
SELECT cron.schedule(
    'pg_background_queue_calibrate',
    '*/5 * * * *',
    'SELECT pg_background_queue_calibrate_workers_count();'
);`
const JOBS = `SELECT * FROM cron.job WHERE jobname LIKE 'pg_background_queue%';`

describe('pg_cron', () => {
  if (programs === undefined) {
    test(TITLE, (ctx) => ctx.skip("none of Debian's packages postgresql-NN-cron is installed"))
    return
  }
  const server = useServer(
    programs,
    (folder) => `shared_preload_libraries = 'pg_cron'\ncron.host = '${folder}'`,
  )

  test(TITLE, async () => {
    await install(server.admin)
    await server.admin.query('CREATE EXTENSION pg_cron;')
    await server.admin.query(ENSURE)
    await server.admin.query(CALIBRATE)
    const jobs = await server.admin.query<any>(JOBS)
    expect(jobs.map((job) => [job.jobname, job.schedule, job.active])).toEqual([
      ['pg_background_queue_ensure_workers', '* * * * *', true],
      ['pg_background_queue_calibrate', '*/5 * * * *', true],
    ])
    // no test waits five minutes
    await server.admin.query(`select cron.schedule('pg_background_queue_calibrate', '* * * * *', command)
      from cron.job where jobname = 'pg_background_queue_calibrate'`)

    const id = await server.admin.one<{ id: bigint }>(`select pg_background_enqueue('select 1') as id`)
    await server.admin.query(`update pg_background_tasks set state = 'running', started_at = now()`)
    const listener = await server.session()
    const heard: string[] = []
    listener.onNotification((payload) => heard.push(payload))
    await listener.query('listen background_queue')

    const results = `select jobname, status from cron.job_run_details join cron.job using (jobid) order by 1`
    const runs = await waitFor(
      'both jobs to have run',
      async () => {
        const rows = await server.admin.query<any>(results)
        return rows.length >= 2 && rows.every((row) => /succeeded|failed/.test(row.status)) && rows
      },
      130_000,
    )
    expect(new Set(runs.map((row) => `${row.jobname} ${row.status}`))).toEqual(
      new Set(['pg_background_queue_calibrate succeeded', 'pg_background_queue_ensure_workers succeeded']),
    )
    const { state } = await server.admin.one<any>(
      'select state::text from pg_background_tasks where id = $1',
      [id.id],
    )
    expect(state).toBe('pending')
    await waitFor('the wake', () => heard.includes('due'))
    const { json } = await pgbq(['doctor', '--json'], { url: server.url })
    const told = json.checks.filter((check: any) => check.name === 'pg_cron').map((check: any) => check.level)
    expect(told).toEqual(['ok', 'ok'])

    await server.admin.query(`SELECT cron.unschedule('pg_background_queue_ensure_workers');`)
    await server.admin.query(`SELECT cron.unschedule('pg_background_queue_calibrate');`)
    expect(await server.admin.query(JOBS)).toEqual([])
  })
})
