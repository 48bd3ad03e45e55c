import { expect, test } from 'vitest'
import { useDatabase } from '../support/database.js'
import { waitFor } from '../support/wait.js'
import { emptyQueueBeforeEach, enqueue, findTask, registerSupervisor, startWorker } from './sql-support.js'

const db = useDatabase()
emptyQueueBeforeEach(db)

const silence = (id: bigint, seconds: number) =>
  db.owner.query(
    `update background_queue.supervisors set seen_at = clock_timestamp() - $2 * interval '1 s' where id = $1`,
    [id, seconds],
  )
const tick = (id: bigint) =>
  db.owner.one<{ rescued: bigint[] }>(`select rescued from background_queue.tick($1, true, '{}')`, [id])
const isThere = async (pid: number) =>
  (await db.admin.query('select from pg_stat_activity where pid = $1', [pid])).length === 1

/** A task in the hands of a supervisor's worker, and another supervisor. */
async function twoSupervisors() {
  const frozen = await registerSupervisor(db.owner)
  const watcher = await registerSupervisor(db.owner)
  const worker = await startWorker(db, { supervisorId: frozen })
  const id = await enqueue(db.owner)
  const claim = await worker.take()
  return { frozen, watcher, worker, id, claim }
}

test('a supervisor that was silent for 5 s loses its worker, and that is no death of the task', async () => {
  const { frozen, watcher, worker, id, claim } = await twoSupervisors()
  await silence(frozen, 6)
  expect((await tick(watcher)).rescued).toEqual([])
  await waitFor('the backend to be gone', async () => !(await isThere(worker.pid)))
  // whoever finds it gone first, and takes it for a death
  await db.owner.query('select background_queue.bury_worker($1, true, $2)', [worker.id, 'was gone'])
  expect(await findTask(db, id)).toMatchObject({ state: 'pending', rescues: 1, worker_deaths: 0 })
  await expect(worker.finish(claim)).rejects.toThrow()
})

test('a supervisor that was silent for less keeps its worker', async () => {
  const { frozen, watcher, worker, claim } = await twoSupervisors()
  await silence(frozen, 4)
  await tick(watcher)
  await worker.finish(claim)
})

test('where the watcher was silent itself, nobody else is ended; the next time it looks, they are', async () => {
  const { frozen, watcher, worker } = await twoSupervisors()
  await silence(frozen, 60)
  await silence(watcher, 60)
  await tick(watcher)
  // a backend that was told to end would do so now
  await worker.session.query('select 1')
  await tick(watcher)
  await waitFor('the backend to be gone', async () => !(await isThere(worker.pid)))
})
