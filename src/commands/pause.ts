import { PauseCommand, pauseFlags } from '../pause-command.js'

export default class Pause extends PauseCommand {
  static override summary = 'start no more tasks of the queue, or of a topic'
  static override description =
    'What runs goes on to its end; what is enqueued waits. Without --topic and --no-topic the whole queue is paused; on a terminal that is asked first.'
  static override examples = [
    '<%= config.bin %> <%= command.id %> --topic mail',
    '<%= config.bin %> <%= command.id %> --no-topic',
    '<%= config.bin %> <%= command.id %> --yes',
  ]
  static override flags = pauseFlags

  async run(): Promise<void> {
    const { flags } = await this.parse(Pause)
    await this.change(flags, true)
  }
}
