import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeAll, beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import type { Database } from '../../src/engine/database/database.js'
import { check, type Finding, type Patient } from '../../src/engine/doctor/check.js'
import { checkCrontab, checkPgCron } from '../../src/engine/doctor/cron.js'
import { checkFunctions, shippedRoutines } from '../../src/engine/doctor/functions.js'
import { checkXmin } from '../../src/engine/doctor/horizon.js'
import { checkPrivileges, checkRole } from '../../src/engine/doctor/rights.js'
import {
  checkClock,
  checkConnection,
  checkListen,
  checkPooler,
  checkServer,
} from '../../src/engine/doctor/server.js'
import { checkSettings } from '../../src/engine/doctor/settings.js'
import { checkBloat, checkDeadRows, checkIndexes, checkRetention } from '../../src/engine/doctor/upkeep.js'
import {
  checkConnections,
  checkOrphans,
  checkSupervisors,
  checkUnserved,
} from '../../src/engine/doctor/workforce.js'
import { QueueError } from '../../src/engine/errors.js'
import { install } from '../../src/engine/migrator.js'
import { useDatabase } from '../support/database.js'
import { OWNER } from '../support/names.js'
import { waitFor } from '../support/wait.js'
import { emptyQueueBeforeEach, enqueue, registerSupervisor, setParameter, useRole } from './sql-support.js'

const db = useDatabase()
const ROLE = useRole(db, 'patient')
emptyQueueBeforeEach(db)

let patient: Patient
beforeAll(async () => {
  await db.owner.query('select background_queue.grant_enqueue($1)', [ROLE])
  patient = { database: db.owner, schema: 'public', version: '0', isPrivateServer: false }
})

const OK = (message: unknown): Finding => ({ level: 'ok', message: message as string })
const bad = (level: 'warning' | 'problem', message: unknown, fix: unknown) => [
  { level, message: message as string, fix: fix as string },
]
const list = async (look: Promise<Finding | Finding[]>) => [await look].flat()
const later = (session: Database, sql: string) => onTestFinished(async () => void (await session.query(sql)))

describe('the server', () => {
  test('is told with what one round trip takes', async () => {
    expect(await checkConnection(db.owner)).toEqual(
      OK(expect.stringMatching(`^database "${db.name}" at .+ as "${OWNER}", a round trip takes [\\d.]+ ms$`)),
    )
    expect(await checkServer(db.owner)).toEqual(OK(expect.stringMatching(/^PostgreSQL \d/)))
    expect(await checkPooler(db.owner)).toEqual(OK('No connection pooler stands before the server'))
  })

  test.each([
    [{ number: 120022, version: '12.22' }, 'PostgreSQL 12.22 is older than 13'],
    [{ number: 180004, version: '18.4', in_recovery: true }, /standby/],
  ])('that is %j is a problem', async (row, message) => {
    const server = { one: async () => ({ in_recovery: false, ...row }) } as unknown as Database
    expect(await checkServer(server)).toMatchObject({
      level: 'problem',
      message: expect.stringMatching(message),
    })
  })

  test('brings a notification from one session to another, or is said not to', async () => {
    expect(await checkListen(db.owner)).toEqual(
      OK(expect.stringMatching(/^A notification arrives after [\d.]+ ms$/)),
    )
    const deaf = { ...db.owner, target: db.owner.target, query: async () => [] } as unknown as Database
    expect(await checkListen(deaf, 20)).toMatchObject({
      level: 'problem',
      message: 'A notification did not arrive within 0.02 s',
    })
  })

  test.each([
    [0, 'ok', /^This host's clock is [\d.]+ s (ahead of|behind) the server's/],
    [5000, 'warning', /^This host's clock is [45]\.\d+ s ahead of/],
    [-90_000, 'warning', /behind the server's/],
  ])('is compared with a clock that is %i ms off: %s', async (off, level, message) => {
    expect(await checkClock(db.owner, () => Date.now() + off)).toMatchObject({
      level,
      message: expect.stringMatching(message),
    })
  })
})

describe('the installation', () => {
  test('has the functions that this program ships', async () => {
    expect(shippedRoutines('public').length).toBeGreaterThan(60)
    expect(await checkFunctions(patient)).toEqual(
      OK(expect.stringMatching(/^\d+ functions are as this program ships them$/)),
    )
  })

  test.each([
    [
      'create or replace function background_queue.load(out due bigint, out active bigint, out max_running integer) language sql as $$ select 1::bigint, 1::bigint, 1 $$',
      'background_queue.load is not as this program ships it',
    ],
    ['drop function background_queue.load()', 'background_queue.load is missing'],
    [
      'alter function background_queue.finish(bigint, text, bigint, text) security invoker',
      'background_queue.finish is not as this program ships it',
    ],
    [
      'alter function background_queue.enqueue() reset search_path',
      'background_queue.enqueue is not as this program ships it',
    ],
    [
      'drop function background_queue.load(), background_queue.adopt()',
      'background_queue.adopt is missing, and 1 other like that',
    ],
  ])('is a problem after %s', async (sql, message) => {
    await db.owner.query(sql)
    onTestFinished(async () => void (await install(db.owner)))
    expect(await list(checkFunctions(patient))).toEqual(bad('problem', message, 'pgbq install'))
  })

  test('is a problem while there is a function that is not ours', async () => {
    await db.owner.query(
      'create function background_queue.extra(n integer) returns void language sql as $$ select $$',
    )
    later(db.owner, 'drop function background_queue.extra(integer)')
    expect(await list(checkFunctions(patient))).toEqual(
      bad(
        'problem',
        "background_queue.extra(integer) is not the queue's",
        "psql -c 'DROP FUNCTION background_queue.extra(integer)'",
      ),
    )
  })

  test('is a problem while a trigger is off', async () => {
    await db.owner.query('alter table pg_background_tasks disable trigger tasks_forget')
    later(db.owner, 'alter table pg_background_tasks enable trigger tasks_forget')
    expect(await list(checkFunctions(patient))).toEqual(
      bad(
        'problem',
        'The trigger tasks_forget of pg_background_tasks is off',
        "psql -c 'ALTER TABLE pg_background_tasks ENABLE TRIGGER tasks_forget'",
      ),
    )
  })

  test('has the rights that an install leaves, and each other one is named', async () => {
    expect(await checkPrivileges(patient)).toEqual(OK('Rights are as an install leaves them'))
    await db.owner.query(`grant select on background_queue.workers to ${ROLE}`)
    await db.admin.query('grant create on schema public to public')
    onTestFinished(async () => {
      await db.owner.query(`revoke select on background_queue.workers from ${ROLE}`)
      await db.admin.query('revoke create on schema public from public')
    })
    expect(await list(checkPrivileges(patient))).toEqual([
      ...bad(
        'warning',
        expect.stringMatching(/^PUBLIC may create/),
        "psql -c 'REVOKE CREATE ON SCHEMA public FROM PUBLIC'",
      ),
      ...bad(
        'problem',
        `${ROLE} has SELECT on background_queue.workers, which the queue did not grant`,
        'pgbq install',
      ),
    ])
  })

  test('is looked at by its owner; a superuser is warned', async () => {
    expect(await checkRole(patient)).toEqual(OK(`"${OWNER}" owns the queue and is no superuser`))
    expect(await checkRole({ ...patient, database: db.admin })).toMatchObject({
      level: 'warning',
      message: expect.stringContaining('superuser'),
    })
  })

  test('has settings that can be obeyed, or names each that cannot', async () => {
    expect(await checkSettings(patient)).toEqual(OK('Every setting can be obeyed'))
    await db.owner.query(`insert into background_queue.settings values ('/mail', 'delay_in_sec', 'soon')`)
    await db.admin.query(`alter database ${db.name} set pg_background_queue.retry_count = 'many'`)
    later(db.admin, `alter database ${db.name} reset pg_background_queue.retry_count`)
    expect(await list(checkSettings(patient))).toEqual(
      expect.arrayContaining([
        ...bad(
          'warning',
          'The stored delay_in_sec of topic "mail" is "soon" and ignored, expected a number from 0 to 86400000',
          'pgbq config unset delay_in_sec --topic mail',
        ),
        ...bad(
          'warning',
          'pg_background_queue.retry_count is "many" and ignored, expected an integer from 0 to 1000',
          expect.stringMatching(/^correct pg_background_queue.retry_count in/),
        ),
      ]),
    )
  })
})

describe('the supervisors', () => {
  test('are missed, and more so when tasks are due', async () => {
    expect(await list(checkSupervisors(patient))).toEqual(
      bad('warning', 'No supervisor is alive; no task is due', 'pgbq work'),
    )
    await enqueue(db.owner)
    expect(await list(checkSupervisors(patient))).toEqual(
      bad('problem', 'Tasks are due, and no supervisor is alive', 'pgbq work'),
    )
  })

  test('are named with their version; another one, or silence, is a warning', async () => {
    const id = await registerSupervisor(db.owner)
    expect(await checkSupervisors(patient)).toEqual(OK('1 supervisor: test/1, version 0'))
    await db.owner.query(
      `update background_queue.supervisors set seen_at = now() - interval '1 min', version = '0.0.9' where id = $1`,
      [id],
    )
    expect(await list(checkSupervisors(patient))).toEqual([
      ...bad(
        'warning',
        'The supervisor test/1 is connected and silent: frozen, or its host is',
        'kill 1, on test',
      ),
      ...bad(
        'warning',
        'The supervisor test/1 has version 0.0.9, this program 0',
        'restart pgbq work on test with version 0',
      ),
    ])
  })

  test('leave no due task to nobody: of a topic, a role, a renamed role', async () => {
    await registerSupervisor(db.owner, ['/mail'])
    expect(await checkUnserved(patient)).toMatchObject({ level: 'ok' })
    await enqueue(db.owner, 'select 1', 'mail')
    expect(await checkUnserved(patient)).toMatchObject({ level: 'ok' })
    await enqueue(db.owner, 'select 1', 'reports')
    expect(await list(checkUnserved(patient))).toEqual(
      bad(
        'problem',
        'Tasks of topics that no --topic names are due, and no supervisor works for them',
        'pgbq work',
      ),
    )
    await db.owner.query('truncate pg_background_tasks')
    await enqueue(await db.session(ROLE), 'select 1', 'mail')
    await db.admin.query(`alter role ${ROLE} nologin`)
    later(db.admin, `alter role ${ROLE} login`)
    expect(await list(checkUnserved(patient))).toEqual(
      bad(
        'problem',
        `Tasks of role "${ROLE}" are due, and no worker may log in as it`,
        expect.stringContaining('set-role'),
      ),
    )
    await db.owner.query(`update pg_background_tasks set lane = '!'`)
    expect(await list(checkUnserved(patient))).toEqual(
      bad(
        'problem',
        `Tasks of role "${ROLE}" wait, which was renamed or dropped since`,
        'pgbq calibrate --adopt',
      ),
    )
  })

  test('find connections enough, or the limit has to be lower', async () => {
    expect(await checkConnections(patient)).toEqual(
      OK(expect.stringMatching(/^Workers and supervisors may open \d+ connections; \d+ of \d+ are in use$/)),
    )
    await setParameter(db.owner, '', 'max_parallel_running_tasks_count', '9000')
    expect(await list(checkConnections(patient))).toEqual(
      bad(
        'problem',
        expect.stringMatching(
          /^Workers and supervisors may open 9001 connections; .+ no more than \d+ are allowed$/,
        ),
        expect.stringMatching(/^pgbq config set max_parallel_running_tasks_count \d+$/),
      ),
    )
  })

  test('leave no task running without a worker', async () => {
    expect(await checkOrphans(patient)).toEqual(OK('Every running task has a living worker'))
    const id = await enqueue(db.owner)
    await db.owner.query(`update pg_background_tasks set state = 'running', started_at = now()`)
    expect(await list(checkOrphans(patient))).toEqual(
      bad('problem', `1 task without a living worker: ${id}`, 'pgbq calibrate'),
    )
  })
})

describe('the tables', () => {
  test('are cleaned, unless somebody holds xmin back', async () => {
    expect(await checkXmin(patient)).toMatchObject({
      level: 'ok',
      message: expect.stringMatching(/^Nothing holds xmin back for 10 min or longer/),
    })
    const session = await db.session()
    const { pid } = await session.one<{ pid: number }>('select pg_backend_pid() as pid')
    await session.query('begin isolation level repeatable read; select 1')
    later(session, 'rollback')
    expect(await list(checkXmin(patient, { sec: 0, age: 0 }))).toEqual(
      bad(
        'warning',
        expect.stringMatching(
          `^Backend ${pid} of "${OWNER}" \\("pgbq tests", idle in transaction\\) since \\d+ s, \\d+ transactions back, holds xmin back$`,
        ),
        `psql -c 'SELECT pg_terminate_backend(${pid})'`,
      ),
    )
  })

  test('are vacuumed, or their dead rows are counted', async () => {
    expect(await list(checkDeadRows(patient))).toEqual([
      OK(expect.stringMatching(/^\d+ dead rows? in the queue's tables$/)),
    ])
    await db.owner.query('alter table pg_background_tasks set (autovacuum_enabled = false)')
    later(db.owner, 'alter table pg_background_tasks reset (autovacuum_enabled)')
    await db.owner.query(
      `insert into pg_background_tasks (sql_statement) select 'select 1' from generate_series(1, 11000)`,
    )
    await db.owner.query('delete from pg_background_tasks')
    const findings = await waitFor('the server to have counted', async () => {
      const found = await list(checkDeadRows(patient))
      return found.length === 2 && found
    })
    expect(findings).toEqual([
      ...bad(
        'warning',
        expect.stringMatching(/^pg_background_tasks has 1\d{4} dead rows/),
        "psql -c 'VACUUM (ANALYZE) pg_background_tasks'",
      ),
      ...bad(
        'warning',
        'autovacuum is off for pg_background_tasks',
        "psql -c 'ALTER TABLE pg_background_tasks RESET (autovacuum_enabled)'",
      ),
    ])
    await db.owner.query('vacuum pg_background_tasks')
    expect((await list(checkBloat(patient, 200_000))).map((f) => f.fix)).toEqual(
      expect.arrayContaining(["psql -c 'REINDEX INDEX CONCURRENTLY tasks_claim_idx'"]),
    )
    expect(await checkBloat(patient)).toMatchObject({ level: 'ok' })
  })

  test('have indexes that are used, and of others those that a broken build left', async () => {
    expect(await checkIndexes(patient)).toEqual(OK('No index is invalid'))
    await db.owner.query('create table twins as select 1 as n from generate_series(1, 2)')
    later(db.owner, 'drop table twins')
    await expect(db.owner.query('create unique index concurrently twins_idx on twins (n)')).rejects.toThrow()
    expect(await list(checkIndexes(patient))).toEqual(
      bad(
        'warning',
        'The index twins_idx of twins is invalid, left by a build that did not end',
        "psql -c 'DROP INDEX CONCURRENTLY twins_idx'",
      ),
    )
    const own = (value: boolean) =>
      `update pg_index set indisvalid = ${value} where indexrelid = 'public.tasks_closed_idx'::regclass`
    await db.admin.query(own(false))
    later(db.admin, own(true))
    expect(await list(checkIndexes(patient))).toContainEqual(
      bad(
        'problem',
        "The queue's index tasks_closed_idx is invalid",
        "psql -c 'REINDEX INDEX CONCURRENTLY tasks_closed_idx'",
      )[0],
    )
  })

  test('lose closed tasks when they are old enough, or are said to keep them', async () => {
    expect(await checkRetention(patient)).toEqual(OK('No task is closed; they go after 30 days'))
    await db.owner.query(`insert into pg_background_tasks (sql_statement, state, started_at, closed_at)
      select 'select 1', 'finished', now() - interval '31 days', now() - interval '31 days'`)
    expect(await list(checkRetention(patient))).toEqual(
      bad('warning', 'The oldest closed task is 31.0 days old, they are to go after 30', 'pgbq prune'),
    )
    await setParameter(db.owner, '', 'retention_in_days', '0')
    expect(await checkRetention(patient)).toEqual(
      OK('The oldest closed task is 31.0 days old; they stay for ever'),
    )
    await setParameter(db.owner, '', 'retention_max_tasks', '1')
    expect(await checkRetention(patient)).toMatchObject({ level: 'ok' })
  })
})

describe('cron', () => {
  test('in the database is absent, or its jobs for the queue are looked at', async () => {
    expect(await checkPgCron(patient)).toEqual(OK(expect.stringMatching(/^pg_cron is not in this database/)))
    await db.owner.query(`create schema cron;
      create table cron.job (jobid bigint, schedule text, command text, active boolean);
      create table cron.job_run_details (jobid bigint, runid bigint, status text, return_message text)`)
    later(db.owner, 'drop schema cron cascade')
    expect(await checkPgCron(patient)).toEqual(OK('pg_cron is here and calls nothing of the queue'))
    await db.owner.query(`
      insert into cron.job select n, '* * * * *', 'select pg_background_queue_ensure_workers()', n <> 2 from generate_series(1, 3) n;
      insert into cron.job_run_details values (1, 1, 'failed', 'boom'), (1, 2, 'succeeded', ''), (3, 3, 'failed', 'boom')`)
    expect((await list(checkPgCron(patient))).map((f) => [f.level, f.message])).toEqual([
      ['ok', expect.stringContaining('The job 1 of pg_cron (* * * * *) calls the queue')],
      ['warning', 'The job 2 of pg_cron (* * * * *) is off'],
      ['warning', 'The job 3 of pg_cron (* * * * *) failed: boom'],
    ])
  })

  let folder: string
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'pgbq-cron-'))
    const before = process.env.PATH
    process.env.PATH = folder
    onTestFinished(async () => {
      process.env.PATH = before
      await rm(folder, { recursive: true })
    })
  })

  test('of this host may be missing', async () => {
    expect(await checkCrontab()).toEqual(OK('There is no program "crontab" on this host'))
  })

  test.each([
    ['# pgbq ensure-workers', 'ok', "No entry of this user's crontab calls pgbq"],
    ['* * * * * pgbq ensure-workers', 'ok', 'The crontab has: * * * * * pgbq ensure-workers'],
    ['@reboot pgbq work', 'warning', 'The crontab calls pgbq, but not ensure-workers: @reboot pgbq work'],
  ])('of this host with the line %j is %s', async (line, level, message) => {
    const program = join(folder, 'crontab')
    await writeFile(program, `#!/bin/sh\necho '${line}'\n`)
    await chmod(program, 0o755)
    expect(await checkCrontab()).toMatchObject({ level, message })
  })
})

describe('a check that fails', () => {
  test.each([
    [new QueueError('X', 'It is broken', { hint: 'mend it' }), 'problem', 'It is broken', 'mend it'],
    [new Error('permission denied'), 'warning', 'This could not be looked at: permission denied', null],
  ])('with %s is a line itself', async (error, level, message, fix) => {
    expect(await check('x', () => Promise.reject(error))).toEqual([{ name: 'x', level, message, fix }])
  })
})
