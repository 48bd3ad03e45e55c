import { beforeEach, describe, expect, test, vi } from 'vitest'
import { pgbq, RUN } from '../support/cli.js'
import { noTerminals, openShell, type TestTerminal } from '../support/terminal.js'
import { useQueue } from './work-support.js'

vi.setConfig({ testTimeout: 60_000 })

const queue = useQueue()
const reason = noTerminals()

/** What stands in the queue, but for times. */
const contents = () =>
  queue.db.owner.query(`select t.id, t.state, (select json_agg(s) from background_queue.settings s) as settings
    from pg_background_tasks t order by id`)

/** In one terminal the same command again and again, each time after the one before has left. */
function openRounds(args: string[], rounds: number): TestTerminal {
  const line = `'${process.execPath}' '${RUN}' ${args.join(' ')}`
  const all = Array.from(
    { length: rounds },
    (_, i) => `clear; echo "round ${i + 1}"; ${line}; echo "left with $?"`,
  )
  // whoever presses Enter has read it
  return openShell(`trap : INT; ${all.join('; read -r next; ')}`, { url: queue.db.url(), columns: 200 })
}

/** The question of this round, not one that still stands there. */
const inRound = (round: number, question: string) =>
  new RegExp(`^round ${round}\n${question} \\[y/N\\]$`, 'm')

type Leave = (terminal: TestTerminal) => void
const REFUSALS: [string, Leave][] = [
  ['n', (t) => t.press('n', 'Enter')],
  ['Enter', (t) => t.press('Enter')],
  ['a word that only begins with y', (t) => t.press('y', 'o', 'Enter')],
  ['Ctrl-C', (t) => t.press('C-c')],
  ['Ctrl-D', (t) => t.press('C-d')],
]

beforeEach(async () => {
  await queue.enqueue('select 1/0')
  await pgbq(['work', '--drain', '--warm', '1'], { url: queue.db.url() })
  await queue.enqueue('select 1', { run_at: '2090-01-01' })
})

describe('a question on a terminal', () => {
  beforeEach((ctx) => void (reason && ctx.skip(reason)))

  test('is answered with no by a terminal that goes away', async () => {
    const before = await contents()
    const terminal = openRounds(['prune', '--keep', '0'], 1)
    await terminal.shows(/\[y\/N\]$/m)
    process.kill(terminal.pid(), 'SIGHUP')
    await terminal.shows(/^left with [1-9]\d*$/m)
    expect(await contents()).toEqual(before)
  })

  test.each([
    ['prune --keep 0', '1 closed task will be deleted\nGo on\\?', REFUSALS],
    ['retry --failed', '1 failed task will run again\nGo on\\?', REFUSALS.slice(0, 1)],
    ['pause', 'The whole queue will be paused; nothing is running\nGo on\\?', REFUSALS.slice(0, 1)],
    [
      'uninstall',
      'Lost will be .*\n  1 waiting task, 0 running and 1 closed ones; .*\nTake the queue .*\\?',
      REFUSALS.slice(3),
    ],
  ])(
    'of "%s" is answered with no by all but y: nothing has changed, exit 1',
    async (command, question, refusals) => {
      const before = await contents()
      const terminal = openRounds(command.split(' '), refusals.length + 1)
      for (const [i, [name, leave]] of refusals.entries()) {
        await terminal.shows(inRound(i + 1, question))
        leave(terminal)
        await terminal.shows(/^Error: Nothing was changed\nleft with 1$/m)
        expect(await contents(), name).toEqual(before)
        terminal.press('Enter')
      }
      await terminal.shows(inRound(refusals.length + 1, question))
      terminal.press('y', 'Enter')
      await terminal.shows(/^left with 0$/m)
      expect(await contents().catch((error: Error) => error.message)).not.toEqual(before)
    },
  )
})
