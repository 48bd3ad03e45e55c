import { spawn, spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { environment, pgbq, RUN, spawnPgbq } from '../support/cli.js'
import { PASSWORD } from '../support/names.js'
import { waitFor } from '../support/wait.js'
import { isAlive, useQueue } from './work-support.js'

vi.setConfig({ testTimeout: 90_000 })

const queue = useQueue()
const supervisors = () =>
  queue.db.owner.query<{ pid: number; host: string }>(
    'select pid, host from background_queue.supervisors order by host',
  )

/** A home such as cron gives, with the passwords that the printed call does not hold. */
function home(): string {
  const folder = mkdtempSync(join(tmpdir(), 'pgbq-cron-'))
  writeFileSync(join(folder, '.pgpass'), `*:*:*:*:${PASSWORD}\n`, { mode: 0o600 })
  return folder
}

/** What crontab(5) says that cron does with a line: a shell, four variables, and % ends the command. */
async function asCron(
  line: string,
  folder: string,
): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const [, command] = /^\* \* \* \* \* (.*)$/.exec(line)!
  const end = command!.search(/(?<!\\)%/)
  const text = (end === -1 ? command! : command!.slice(0, end)).replaceAll('\\%', '%')
  const variables = [`HOME=${folder}`, 'LOGNAME=root', 'PATH=/usr/bin:/bin', 'SHELL=/bin/sh']
  const child = spawn('env', ['-i', ...variables, '/bin/sh', '-c', text], { cwd: folder })
  const output = { stdout: '', stderr: '' }
  child.stdout.on('data', (data) => {
    output.stdout += data
  })
  child.stderr.on('data', (data) => {
    output.stderr += data
  })
  return new Promise((resolve) => child.on('close', (code) => resolve({ code, ...output })))
}

afterEach(async () => {
  for (const { pid } of await supervisors()) {
    process.kill(pid, 'SIGTERM')
    await waitFor('the supervisor to leave', () => !isAlive(pid))
  }
})

describe('the line for cron', () => {
  test("works from cron's empty environment: silent, and the task is done", async () => {
    const printed = await pgbq(['ensure-workers', '--print-crontab'], { url: queue.db.url() })
    expect(printed.code).toBe(0)
    expect(printed.stdout).not.toContain(PASSWORD)
    expect(printed.stderr).toMatch(/^The password is not printed; [^\n]+:PASSWORD\n$/)
    const folder = home()
    expect(await asCron(printed.stdout.trimEnd(), folder)).toEqual({ code: 0, stdout: '', stderr: '' })
    expect(await supervisors()).toEqual([])
    const id = await queue.enqueue('select 1')
    expect(await asCron(printed.stdout.trimEnd(), folder)).toEqual({ code: 0, stdout: '', stderr: '' })
    await queue.reaches(id, 'finished')
    expect(await supervisors()).toHaveLength(1)
  })

  test('takes a configuration file and a log file whose paths need quotes', async () => {
    const folder = home()
    const odd = join(folder, `a b' "c" 5% $HOME;&`)
    mkdirSync(odd)
    writeFileSync(join(odd, '.pgbqrc'), JSON.stringify({ database_url: queue.db.url(), concurrency: 2 }))
    const printed = await pgbq(['ensure-workers', '--print-crontab', '--log-file', 'the log'], { cwd: odd })
    expect(printed).toMatchObject({ code: 0, stderr: '' })
    const id = await queue.enqueue('select 1')
    expect(await asCron(printed.stdout.trimEnd(), folder)).toEqual({ code: 0, stdout: '', stderr: '' })
    await queue.reaches(id, 'finished')
    await waitFor('its log', () => readFileSync(join(odd, 'the log'), 'utf8').includes('ready: 2 slots'))
  })

  test('mails what is wrong', async () => {
    const printed = await pgbq(['ensure-workers', '--print-crontab'], { url: queue.db.url() })
    const wrong = printed.stdout.trimEnd().replace(queue.db.name, 'pgbq_nowhere')
    const { code, stdout, stderr } = await asCron(wrong, home())
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
    expect(stderr).toMatch(/^Error: .*pgbq_nowhere/)
  })

  test('is one JSON value under --json', async () => {
    const { json } = await pgbq(['ensure-workers', '--print-crontab', '--json'], { url: queue.db.url() })
    expect(json).toEqual({ crontab: expect.stringMatching(/^\* \* \* \* \* .* >\/dev\/null$/) })
  })
})

describe('the unit for systemd', () => {
  const files = async () =>
    (await pgbq(['ensure-workers', '--print-systemd', '--json'], { url: queue.db.url() })).json

  test('is taken by systemd as it is, with its timer', async (ctx) => {
    if (spawnSync('systemd-analyze', ['--version']).error) ctx.skip('there is no systemd-analyze')
    const { service, timer } = await files()
    const folder = mkdtempSync(join(tmpdir(), 'pgbq-units-'))
    for (const { name, text } of [service, timer]) writeFileSync(join(folder, name), text)
    const paths = [service, timer].map(({ name }) => join(folder, name))
    const { status, stdout, stderr } = spawnSync('systemd-analyze', ['verify', '--man=no', ...paths], {
      encoding: 'utf8',
      env: { ...process.env, SYSTEMD_UNIT_PATH: `${folder}:` },
    })
    const told = `${stdout}${stderr}`.split('\n').filter((line) => line.includes('pgbq'))
    expect({ status, told }).toEqual({ status: 0, told: [] })
  })

  test('calls in the foreground, by absolute paths, without a password', async () => {
    const { service } = await files()
    expect(service.text).not.toContain(PASSWORD)
    expect(service.text).toContain(
      `ExecStart=${process.execPath} ${RUN} ensure-workers --idle-timeout 10m --foreground\n`,
    )
    const { stdout } = await pgbq(['ensure-workers', '--print-systemd'], { url: queue.db.url() })
    expect(stdout).toContain(`# /etc/systemd/system/${service.name}\n${service.text}`)
  })

  test('becomes the supervisor itself where tasks are due, and stops as one', async () => {
    const id = await queue.enqueue('select 1')
    const call = spawnPgbq(['ensure-workers', '--foreground'], { url: queue.db.url() })
    await queue.reaches(id, 'finished')
    expect((await supervisors()).map(({ pid }) => pid)).toEqual([call.child.pid])
    expect((await pgbq(['ensure-workers', '--foreground'], { url: queue.db.url() })).code).toBe(0)
    call.child.kill('SIGTERM')
    expect(await call.exit()).toBe(0)
    expect(call.stdout()).toMatch(/^1 due, 0 of \d+ running: started a supervisor\n/)
  })

  test('leaves at once where nothing is due', async () => {
    const { code, stdout } = await pgbq(['ensure-workers', '--foreground'], { url: queue.db.url() })
    expect(code).toBe(0)
    expect(stdout).toMatch(/: nothing to start\n$/)
  })
})

test.each([
  [['--print-systemd', '--log-file', 'x'], /^Error: A unit of systemd writes to the journal, /],
  [['--print-systemd', '--print-crontab'], /^Error: /],
  [['--print-crontab', '--idle-timeout', 'soon'], /^Error: Expected --idle-timeout /],
  [['--print-crontab', '--config', '/nowhere'], /^Error: The configuration file "\/nowhere" does not exist/],
])('refuses %j', async (args, message) => {
  const { code, stdout, stderr } = await pgbq(['ensure-workers', ...args], { url: queue.db.url() })
  expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
  expect(stderr).toMatch(message)
})

test('two hosts that call in the same second get one supervisor each, and the task runs once', async (ctx) => {
  const tried = spawnSync('unshare', ['--uts', 'hostname', 'pgbq-a'], { encoding: 'utf8' })
  if (tried.status !== 0) ctx.skip(`no other host name is to be had: ${tried.error?.message ?? tried.stderr}`)
  const env = environment({ url: queue.db.url() })
  await queue.db.owner.query('create table runs (at timestamptz default clock_timestamp())')
  const id = await queue.enqueue('insert into runs default values; select pg_sleep(1)')
  const call = (host: string) =>
    new Promise<number | null>((resolve) => {
      const script = 'hostname "$0" && exec "$@"'
      const words = ['--uts', 'sh', '-c', script, host, process.execPath, RUN, 'ensure-workers', '--json']
      spawn('unshare', words, { env, cwd: env.HOME, stdio: 'ignore' }).on('close', resolve)
    })
  expect(await Promise.all([call('pgbq-a'), call('pgbq-b'), call('pgbq-a'), call('pgbq-b')])).toEqual([
    0, 0, 0, 0,
  ])
  expect((await supervisors()).map(({ host }) => host)).toEqual(['pgbq-a', 'pgbq-b'])
  await queue.reaches(id, 'finished')
  expect(await queue.count('select count(*) from runs')).toBe(1)
})
