import { PauseCommand, pauseFlags } from '../pause-command.js'

const { yes: _, ...resumeFlags } = pauseFlags

export default class Resume extends PauseCommand {
  static override summary = 'start tasks again after a pause'
  static override description =
    'Without --topic and --no-topic: ends the pause of the whole queue. Topics that were paused by themselves stay so, and are named.'
  static override examples = [
    '<%= config.bin %> <%= command.id %> --topic mail',
    '<%= config.bin %> <%= command.id %>',
  ]
  static override flags = resumeFlags

  async run(): Promise<void> {
    const { flags } = await this.parse(Resume)
    await this.change({ ...flags, yes: true }, false)
  }
}
