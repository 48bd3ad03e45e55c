import { beforeEach, expect, test, vi } from 'vitest'
import type { FromWorker, LogLine, RunningTask } from '../../src/engine/worker/ipc.js'
import { Notices } from '../../src/engine/worker/notices.js'

const task = { id: 7n, attempt: 1 } as RunningTask

let notices: Notices
let sent: LogLine[][]

beforeEach(() => {
  vi.useFakeTimers()
  sent = []
  notices = new Notices()
  notices.send = (messages: FromWorker[]) => {
    for (const message of messages) if (message.type === 'lines') sent.push(message.lines)
  }
  notices.begin(task)
  return () => vi.useRealTimers()
})

const notice = (message: string) => notices.add({ severity: 'NOTICE', code: '00000', message })
const messages = (lines: LogLine[] = []) => lines.map((line) => line.message)

test('a task that says nothing sends nothing and waits for nothing', async () => {
  await notices.settle()
  expect(notices.end()).toEqual({})
  expect(vi.getTimerCount()).toBe(0)
  expect(sent).toEqual([])
})

test('sends a notice soon, while the task runs', async () => {
  notice('a')
  notice('b')
  expect(sent).toEqual([])
  await vi.advanceTimersByTimeAsync(60)
  expect(sent.map(messages)).toEqual([['a', 'b']])
})

test('of a flood keeps the first and the last lines, counted, and sends no batch before the one before is kept', async () => {
  for (let i = 1; i <= 100_000; i++) notice(`row ${i}`)
  await vi.advanceTimersByTimeAsync(1000)
  expect(sent).toHaveLength(1)
  const [first] = sent
  expect(first).toHaveLength(200)
  expect(first!.map((line) => line.seq).slice(98, 102)).toEqual([99, 100, 99_901, 99_902])
  notice('late')
  await vi.advanceTimersByTimeAsync(1000)
  expect(sent).toHaveLength(1)
  notices.noted()
  await vi.advanceTimersByTimeAsync(1000)
  expect(sent[1]).toMatchObject([{ seq: 100_001, message: 'late' }])
})

test('the end of a run waits until its lines are kept', async () => {
  notice('a')
  const settled = vi.fn()
  const settling = notices.settle().then(settled)
  await vi.advanceTimersByTimeAsync(100)
  expect(sent.map(messages)).toEqual([['a']])
  expect(settled).not.toHaveBeenCalled()
  notices.noted()
  await settling
  expect(settled).toHaveBeenCalledOnce()
})

test('the end of a run waits a quarter of a second at most, and so does no later task that says nothing', async () => {
  notice('a')
  const settling = notices.settle()
  await vi.advanceTimersByTimeAsync(250)
  await settling
  expect(notices.end()).toEqual({})
  notices.begin({ ...task, id: 8n })
  await notices.settle()
  expect(vi.getTimerCount()).toBe(0)
})

test('results of statements go out with the end, unless the task goes on for long', async () => {
  notices.statement = 1
  notices.result({ tag: 'INSERT', rows: 3 })
  await notices.settle()
  expect(notices.end().lines).toMatchObject([
    { severity: 'RESULT', message: 'INSERT', rows: 3, statement: 1 },
  ])
  expect(sent).toEqual([])
  notices.begin(task)
  notices.result({ tag: 'UPDATE', rows: 1 })
  await vi.advanceTimersByTimeAsync(1100)
  expect(sent.map(messages)).toEqual([['UPDATE']])
})

test('what was rolled back and runs again is said once, or it is said that it was', async () => {
  notice('unsent')
  notices.hold()
  await vi.advanceTimersByTimeAsync(1000)
  notices.again()
  notice('sent')
  await vi.advanceTimersByTimeAsync(60)
  notices.noted()
  notices.again()
  notice('again')
  await vi.advanceTimersByTimeAsync(1000)
  expect(sent.flatMap(messages)).toEqual(['sent', 'What ran so far was rolled back, and runs again', 'again'])
  expect(sent.flat().map((line) => line.seq)).toEqual([1, 2, 3])
})

test('what an earlier statement said stays, when a later one runs again', async () => {
  notice('first statement')
  const { mark } = notices
  notice('second statement')
  notices.again(mark)
  await vi.advanceTimersByTimeAsync(60)
  expect(sent.map(messages)).toEqual([['first statement']])
})

test.each([
  ['NOTICE', '00000', 'NOTICE'],
  ['DEBUG', '00000', 'DEBUG'],
  ['HINWEIS', '00000', 'NOTICE'],
  ['WARNUNG', '01000', 'WARNING'],
])('a message of severity %s and code %s is a %s', (severity, code, expected) => {
  notices.add({ severity, code, message: 'x' })
  expect(notices.end().lines).toMatchObject([{ severity: expected }])
})

test('a text of megabytes is shortened, never within a character', () => {
  notice(`${'x'.repeat(15_999)}😀${'y'.repeat(5_000_000)}`)
  const [line] = notices.end().lines!
  expect(line!.message.length).toBeLessThan(16_100)
  expect(line!.message).toMatch(/x�?… \(5,000,001 characters more\)$/)
  expect(Buffer.from(line!.message).toString()).toBe(line!.message)
})
