import { beforeEach, expect, test } from 'vitest'
import { useDatabase } from '../support/database.js'
import { waitFor } from '../support/wait.js'
import {
  emptyQueueBeforeEach,
  enqueue,
  registerSupervisor,
  setParameter,
  startWorker,
} from './sql-support.js'

const db = useDatabase()
emptyQueueBeforeEach(db)
beforeEach(() => db.admin.query(`alter database ${db.name} reset all`))

const lanes = () => db.owner.query(`select * from background_queue.lanes where lane <> '' order by lane`)
const relane = async (limit = 5000) =>
  (await db.owner.one<{ moved: number }>('select background_queue.relane($1) as moved', [limit])).moved
const laneOf = async (id: bigint) =>
  (await db.owner.one<{ lane: string }>('select lane from pg_background_tasks where id = $1', [id])).lane

test.each([
  ['max_parallel_running_tasks_count', '2', { separate: true, max_running: 2 }],
  ['delay_in_sec', '1.5', { separate: true, delay_in_sec: 1.5 }],
  ['delay_in_sec', '0', { separate: true, delay_in_sec: 0 }],
  ['paused', 'on', { separate: true, paused: true }],
  ['retry_count', '3', { separate: false, retry_count: 3 }],
  ['timeout_in_sec', '0.25', { separate: false, timeout_in_sec: 0.25 }],
  ['retry_max_delay_in_sec', '5', { separate: false, retry_max_delay_in_sec: 5 }],
  ['max_worker_deaths', '0', { separate: false, max_worker_deaths: 0 }],
  ['max_tasks_per_commit', '9', { separate: false, max_tasks_per_commit: 9 }],
])(
  'keeps the lane of a topic equal to its %s = %s, and drops it with the setting',
  async (name, value, lane) => {
    await setParameter(db.owner, '/a', name, value)
    expect(await lanes()).toMatchObject([{ lane: '/a', implicit: false, ...lane }])
    await setParameter(db.owner, '/a', name, null)
    expect(await lanes()).toEqual([])
  },
)

test('keeps the row of the whole queue complete when all is unset', async () => {
  await setParameter(db.owner, '', 'delay_in_sec', '5')
  await setParameter(db.owner, '', 'delay_in_sec', null)
  const [queue] = await db.owner.query(`select * from background_queue.lanes where lane = ''`)
  expect(queue).toMatchObject({ delay_in_sec: 0, retry_count: 0, paused: false, separate: false })
})

test('takes over what the server settings say at the next look, and says whether anything changed', async () => {
  const sync = async () => (await db.owner.one('select background_queue.sync_lanes() as changed')).changed
  expect(await sync()).toBe(false)
  await db.admin.query(
    `alter database ${db.name} set pg_background_queue.topic_config = '{"a": {"max_parallel_running_tasks_count": 3}}'`,
  )
  expect(await sync()).toBe(true)
  expect(await lanes()).toMatchObject([{ lane: '/a', max_running: 3, separate: true }])
  expect(await sync()).toBe(false)
  await db.admin.query(`alter database ${db.name} reset all`)
  expect(await sync()).toBe(true)
  expect(await lanes()).toEqual([])
})

test('tells the supervisors of a change, and of nothing else', async () => {
  const listener = await db.session()
  const payloads: string[] = []
  listener.onNotification((payload) => payloads.push(payload))
  await listener.query('listen background_queue')
  await setParameter(db.owner, '/a', 'retry_count', '1')
  await setParameter(db.owner, '/a', 'retry_count', '1')
  await setParameter(db.owner, '/b', 'retry_count', null)
  await setParameter(db.owner, '/a', 'priority', '1')
  await db.owner.query(`select pg_notify('background_queue', 'end')`)
  await waitFor('the mark', () => payloads.at(-1) === 'end')
  expect(payloads.filter((payload) => payload !== 'end')).toEqual(['settings'])
})

test('changes nothing when the transaction of a change is rolled back', async () => {
  await db.owner.query('begin')
  await setParameter(db.owner, '/a', 'paused', 'true')
  await db.owner.query('rollback')
  expect(await lanes()).toEqual([])
})

test('moves the waiting tasks of a topic that got a limit, and back when it lost it', async () => {
  const id = await enqueue(db.owner, 'select 1', 'a')
  const other = await enqueue(db.owner, 'select 1', 'b')
  const none = await enqueue(db.owner)
  await setParameter(db.owner, '/a', 'paused', 'false')
  expect(await relane()).toBe(1)
  expect([await laneOf(id), await laneOf(other), await laneOf(none)]).toEqual(['/a', '', ''])
  expect(await relane()).toBe(0)
  await setParameter(db.owner, '/a', 'paused', null)
  expect(await relane()).toBe(1)
  expect(await laneOf(id)).toBe('')
})

test('gives every topic its own lane while the whole queue has a delay', async () => {
  const ids = [await enqueue(db.owner, 'select 1', 'a'), await enqueue(db.owner)]
  await setParameter(db.owner, '', 'delay_in_sec', '1')
  expect(await relane()).toBe(2)
  const late = await enqueue(db.owner, 'select 1', 'b')
  expect([await laneOf(ids[0]!), await laneOf(ids[1]!), await laneOf(late)]).toEqual(['/a', '/', '/b'])
})

test('moves tasks in batches, and steps over one that somebody holds, which is moved when it is claimed', async () => {
  const ids: bigint[] = []
  for (let i = 0; i < 5; i++) ids.push(await enqueue(db.owner, 'select 1', 'a'))
  await setParameter(db.owner, '/a', 'max_parallel_running_tasks_count', '1')
  const other = await db.session()
  await other.query('begin')
  await other.query('select from pg_background_tasks where id = $1 for update', [ids[0]])
  expect([await relane(3), await relane(3), await relane(3)]).toEqual([3, 1, 0])
  await other.query('rollback')
  const worker = await startWorker(db)
  await worker.take()
  expect(await worker.claim()).toMatchObject({ task_id: null })
  expect(await laneOf(ids[0]!)).toBe('/a')
})

test('looks at what waits only where lanes have changed since nothing was misplaced', async () => {
  const settle = async () => {
    while ((await relane()) > 0);
    return db.owner.one('select lanes_changed = lanes_settled as is_settled from background_queue.queue')
  }
  const id = await enqueue(db.owner, 'select 1', 'a')
  expect(await settle()).toEqual({ is_settled: true })
  await db.owner.query(`update pg_background_tasks set lane = '/a'`)
  expect(await relane()).toBe(0)
  await setParameter(db.owner, '/b', 'paused', 'true')
  expect([await relane(), await laneOf(id)]).toEqual([1, ''])
  expect(await settle()).toEqual({ is_settled: true })
})

test('leaves tasks that run, and puts them into their lane when they wait again', async () => {
  const worker = await startWorker(db)
  const id = await enqueue(db.owner, 'select 1', 'a', { max_retries: 1 })
  const claim = await worker.take()
  await setParameter(db.owner, '/a', 'max_parallel_running_tasks_count', '1')
  expect(await relane()).toBe(0)
  expect(await worker.fail(claim)).toBe('retrying')
  expect(await laneOf(id)).toBe('/a')
})

test('gives the topics that a supervisor serves alone lanes of their own while it lives', async () => {
  const supervisorId = await registerSupervisor(db.owner, ['/a', '/'])
  expect(await lanes()).toMatchObject([
    { lane: '/', separate: true, max_running: null },
    { lane: '/a', separate: true, max_running: null },
  ])
  await db.owner.query('delete from background_queue.supervisors where id = $1', [supervisorId])
  await db.owner.query('select background_queue.sync_lanes()')
  expect(await lanes()).toEqual([])
})
