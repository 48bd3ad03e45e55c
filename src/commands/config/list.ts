import { ConfigCommand, scopeFlags } from '../../config-command.js'
import { readParameters, readProblems } from '../../engine/settings.js'
import { outputFlags } from '../../list-flags.js'
import { parametersTable, problemLine } from '../../output/config-text.js'

export default class ConfigList extends ConfigCommand {
  static override summary = 'show every parameter in force, with its source'
  static override description =
    'Sources, first found wins: stored by this command for the topic, topic_config of the server, stored for the queue, server setting pg_background_queue.NAME, built-in. What cannot be obeyed is told on stderr.'
  static override examples = [
    '<%= config.bin %> <%= command.id %>',
    '<%= config.bin %> <%= command.id %> --topic reporting',
    '<%= config.bin %> <%= command.id %> --output csv',
  ]
  static override flags = { ...scopeFlags, ...outputFlags }

  /** The problems that are printed in full say it. */
  protected override warnOnce(): void {}

  async run(): Promise<void> {
    const { flags } = await this.parse(ConfigList)
    const scope = this.scope(flags)
    const { database } = await this.openQueue(flags)
    const all = await readParameters(database)
    const parameters = scope.topic === null ? all : all.filter((p) => p.topic === scope.topic)
    this.printRows(flags.output, {
      json: { parameters },
      columns: ['name', 'topic', 'value', 'source'],
      rows: parameters as unknown as Record<string, unknown>[],
      text: () => parametersTable(parameters),
    })
    for (const problem of await readProblems(database)) this.note(problemLine(problem))
  }
}
