/** A word as a POSIX shell reads it. */
export function shellWord(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) && !text.startsWith('-') ? text : `'${text.replaceAll("'", `'\\''`)}'`
}

/** A statement for psql, as it is typed: `psql -c 'VACUUM'`. */
export function psqlCommand(sql: string): string {
  return `psql -c ${shellWord(sql)}`
}

/** The flags that name a topic: --topic mail, or --no-topic. */
export function topicFlag(topic: string | null): string {
  if (topic === null || topic === '') return '--no-topic'
  return topic.startsWith('-') ? `--topic=${shellWord(topic)}` : `--topic ${shellWord(topic)}`
}

/** An SQL identifier, quoted where it has to be. */
export function sqlName(name: string): string {
  return /^[a-z_][a-z0-9_]*$/.test(name) ? name : `"${name.replaceAll('"', '""')}"`
}
