import * as Flags from '@oclif/core/flags'
import { ActingCommand, countOf, topicsOf, yesFlag } from './acting-command.js'
import { countRunning, listPaused, type PauseReport, setPaused } from './engine/acting/pause.js'
import { plain } from './output/plain.js'

export const pauseFlags = {
  topic: Flags.string({ description: 'only this topic', multiple: true, multipleNonGreedy: true }),
  'no-topic': Flags.boolean({ description: 'only tasks without topic' }),
  ...yesFlag,
}

interface PauseFlags {
  topic?: string[] | undefined
  'no-topic'?: boolean | undefined
  yes: boolean
}

/** What `pause` and `resume` share. */
export abstract class PauseCommand extends ActingCommand {
  static override baseFlags = ActingCommand.baseFlags

  protected async change(
    flags: PauseFlags & Parameters<ActingCommand['openQueue']>[0],
    isPaused: boolean,
  ): Promise<void> {
    const topics: (string | null)[] = topicsOf(flags) ?? [null]
    const { database, schema } = await this.openQueue(flags)
    if (isPaused && topics[0] === null) {
      const running = await countRunning(database, schema, null)
      this.note(`The whole queue will be paused; ${goOn(running)}`)
      await this.agree('Go on?', flags.yes)
    }
    const changed: PauseReport[] = []
    for (const topic of topics) changed.push(await setPaused(database, schema, topic, isPaused))
    const { queue, topics: still } = await listPaused(database)
    const lines = changed.map((report) => say(report))
    if (!isPaused) lines.push(...rest(queue, topics[0] === null ? still : []))
    this.print({ changed, paused: { queue, topics: still } }, lines.join('\n'))
  }
}

const say = ({ topic, paused, running }: PauseReport): string =>
  `${name(topic)} ${topic === '' ? 'are' : 'is'} ${paused ? `paused; ${goOn(running)}` : 'resumed'}`

const name = (topic: string | null): string =>
  topic === null ? 'The queue' : topic === '' ? 'Tasks without topic' : `Topic "${plain(topic)}"`

const goOn = (running: bigint): string =>
  running === 0n ? 'nothing is running' : `${countOf(running, 'running task')} will end as usual`

/** What keeps tasks waiting all the same, with the way out. */
function rest(isQueuePaused: boolean, topics: string[]): string[] {
  const lines = isQueuePaused ? ['The whole queue is still paused. Try this: pgbq resume'] : []
  if (topics.length === 0) return lines
  const names = topics.map((topic) => (topic === '' ? 'tasks without topic' : `"${plain(topic)}"`))
  return [...lines, `Still paused by themselves: ${names.join(', ')}. Try this: pgbq resume --topic TOPIC`]
}
