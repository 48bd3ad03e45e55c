import ConfigList from './list.js'

export default class Config extends ConfigList {
  static override summary = 'show every parameter in force, with its source'
  static override examples = ['<%= config.bin %> config', '<%= config.bin %> config --topic reporting --json']
}
