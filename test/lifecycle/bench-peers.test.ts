import { expect, inject, onTestFinished, test } from 'vitest'
import { killChildren } from '../bench/child-kill.js'
import { openServer } from '../bench/server.js'
import { Pgbq } from '../bench/systems/pgbq.js'

/** Our own part of the comparison; the others come from the registry, which a test run has no need of. */
test('the comparison under kill -9 runs every task of ours once', async () => {
  const server = await openServer(inject('serverUrl'))
  const pgbq = new Pgbq()
  onTestFinished(async () => {
    await pgbq.stop()
    await server.close()
  })
  const options = { tasks: 40, kills: 3, workers: 2, watchMs: 20_000, seed: 7 }
  const killed = await killChildren(pgbq, await server.createDatabase(), options)
  const outcome = await killed.watch()
  expect(outcome).toMatchObject({
    tasks: 40,
    kills: 3,
    finished: 40,
    failed: 0,
    stuck: 0,
    missing: 0,
    twice: 0,
  })
  // on a busy machine a kill may come when its task has just ended; three do not
  expect(outcome.recovery.count).toBeGreaterThan(0)
})
