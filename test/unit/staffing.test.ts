import { expect, test } from 'vitest'
import { Staffing } from '../../src/engine/supervisor/staffing.js'

interface Stub {
  name: string
  role: string
  state: 'idle' | 'busy'
  task: object | undefined
  isReady: boolean
  isStopping: boolean
  stop(): void
}

function worker(name: string, state: Stub['state'], task?: object): Stub {
  const stub: Stub = {
    name,
    role: 'owner',
    state,
    task,
    isReady: true,
    isStopping: false,
    stop: () => {
      stub.isStopping = true
    },
  }
  return stub
}

/** All slots are the owner's; who is asked to stop when a task of another role is due. */
function staffing(workers: Stub[]) {
  const active = () => workers.filter((w) => !w.isStopping)
  const pool = {
    workers: new Set(workers),
    get active() {
      return active()
    },
    get idle() {
      return active().filter((w) => w.state === 'idle')
    },
    get busy() {
      return workers.filter((w) => w.task !== undefined)
    },
    ofRole: (role: string) => active().filter((w) => w.role === role),
    wake: () => false,
    mayStart: () => true,
  }
  const staffing = new Staffing(pool as any, { runAs: 'login' } as any, () => 'owner')
  staffing.limit(workers.length)
  return {
    serve: () => staffing.serve('alice'),
    stopping: () => workers.filter((w) => w.isStopping).map((w) => w.name),
  }
}

const TASK = {}

test.each<[string, Stub[], string]>([
  ['an idle one', [worker('runs', 'busy', TASK), worker('looks', 'busy'), worker('idle', 'idle')], 'idle'],
  ['one that looks for a task', [worker('runs', 'busy', TASK), worker('looks', 'busy')], 'looks'],
  ['one that runs, where all do', [worker('runs', 'busy', TASK), worker('runs too', 'busy', TASK)], 'runs'],
])('frees a slot for another role by %s', (_, workers, expected) => {
  const { serve, stopping } = staffing(workers)
  serve()
  expect(stopping()).toEqual([expected])
  serve()
  expect(stopping()).toEqual([expected])
})

test('does not wait for the end of a long task where another worker is free by now', () => {
  const workers = [worker('runs', 'busy', TASK), worker('runs too', 'busy', TASK)]
  const { serve, stopping } = staffing(workers)
  serve()
  expect(stopping()).toEqual(['runs'])
  Object.assign(workers[1]!, { state: 'idle', task: undefined })
  serve()
  expect(stopping()).toEqual(['runs', 'runs too'])
})
