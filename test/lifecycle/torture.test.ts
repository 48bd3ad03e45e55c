import { existsSync, readdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { expect, inject, test, vi } from 'vitest'
import { Database } from '../../src/engine/database/database.js'
import { resolveTarget } from '../../src/engine/database/target.js'
import { OwnServer } from '../../src/torture/own-server.js'
import { torture } from '../../src/torture/torture.js'
import { FAULT_KINDS } from '../../src/torture/types.js'
import { pgbq, spawnPgbq } from '../support/cli.js'
import { waitFor } from '../support/wait.js'

vi.setConfig({ testTimeout: 300_000 })

test('keeps every promise under 34 faults of every kind that this machine can do', async () => {
  const own = await OwnServer.start(() => undefined, { fsync: 'off' })
  try {
    const report = await torture({
      server: own.target,
      own,
      kinds: FAULT_KINDS,
      seed: 11,
      rounds: 34,
      pauseMs: 250,
      tasksPerSecond: 30,
      signal: new AbortController().signal,
    })
    for (const { fault, skipped } of report.faults)
      if (skipped !== null) process.stdout.write(`torture without ${fault}: ${skipped}\n`)
    expect(report.broken).toEqual([])
    expect(report.injected).toBe(34)
    expect(report.tasks.enqueued).toBeGreaterThan(800)
    const missing = report.faults.filter((f) => f.fault !== 'calm' && f.injected === 0 && f.skipped === null)
    expect(missing.map((f) => f.fault)).toEqual([])
  } finally {
    await own.destroy()
  }
})

async function scratchDatabases(): Promise<string[]> {
  const database = await Database.connect(resolveTarget(inject('serverUrl')), {
    applicationName: 'pgbq tests',
  })
  const rows = await database.query<{ name: string }>(
    `select datname as name from pg_database where datname like 'pgbq\\_torture%'
     union all select rolname from pg_roles where rolname like 'pgbq\\_torture%'`,
  )
  await database.close()
  return rows.map(({ name }) => name)
}

test('runs on a server that is given, says what it cannot do there, and leaves nothing behind', async () => {
  const before = await scratchDatabases()
  const faults = ['settings', 'server-restart'].flatMap((kind) => ['--faults', kind])
  const result = await pgbq([
    ...['torture', '--rounds', '2', ...faults, '--seed', '3', '--pause', '100ms', '--json'],
    ...['--database-url', inject('serverUrl')],
  ])
  expect(result).toMatchObject({ code: 0 })
  expect(result.json).toMatchObject({ ok: true, seed: 3, injected: 2, broken: [], foreign_effects: 0 })
  expect(result.json.faults.find((f: { fault: string }) => f.fault === 'server-restart').skipped).toContain(
    'server of our own',
  )
  // tests beside this one may torture the same server, and clean up too
  const isClean = async () => (await scratchDatabases()).every((name) => before.includes(name))
  await waitFor('the scratch databases and roles to be gone', isClean, 120_000)
})

test('stopped by SIGINT, undoes everything and says how to repeat it', async () => {
  const folders = () => readdirSync(tmpdir()).filter((name) => name.startsWith('pgbq-torture'))
  const before = folders()
  const run = spawnPgbq(['torture', '--faults', 'settings', '--faults', 'freeze', '--seed', '5'])
  await waitFor('the first fault', () => run.stderr().includes('freeze  '), 60_000)
  run.child.kill('SIGINT')
  expect(await run.exit()).toBe(1)
  expect(run.stderr()).toContain('Try this: pgbq torture --seed 5')
  const isClean = () => folders().every((name) => before.includes(name) || !existsSync(`${tmpdir()}/${name}`))
  await waitFor('the folders to be gone', isClean, 120_000)
})

test.each([
  [['--rounds', '0'], 'Expected --rounds to be a positive integer, got "0"'],
  [['--rounds', '-1'], 'Expected --rounds to be a positive integer, got "-1"'],
  [['--rounds', '5', '--duration', '1m'], '--rounds'],
  [['--duration', 'soon'], 'Expected --duration to be a duration'],
  [['--faults', 'earthquake'], 'earthquake'],
  [['--seed', 'x'], 'Expected --seed to be a positive integer, got "x"'],
  [['--rate', '0'], 'Expected --rate to be a positive integer, got "0"'],
  [['--pause', 'x'], 'Expected --pause to be a duration'],
])('refuses %j before anything is made', async (args, message) => {
  const { code, stderr } = await pgbq(['torture', ...args])
  expect(code).toBe(2)
  expect(stderr).toContain(message)
})
