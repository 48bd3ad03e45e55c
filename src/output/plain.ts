/**
 * A stranger's text as a terminal may show it: control characters and marks that turn the direction of writing become
 * escapes such as \u001b, so that a topic or an error cannot clear or forge the screen. Line ends and tabs stay.
 */
export function plain(text: string): string {
  return text
    .replace(/\r\n/g, '\n')
    .replace(/[\p{Cc}\u202a-\u202e\u2066-\u2069]/gu, (c) => (c === '\n' || c === '\t' ? c : escaped(c)))
}

/** A topic for a cell: in quotes where its blanks, line ends or quotes would be misread. */
export function plainTopic(topic: string): string {
  return plain(/^\s|\s$|[\r\n\t]|^"|^\(no topic\)$/.test(topic) ? JSON.stringify(topic) : topic)
}

/** A text that may hold a connection URL or a string of keywords, as it may be shown. */
export function hidePasswords(text: string): string {
  return text
    .replace(/(\w+:\/\/[^\s:@/]*):[^\s/?]*@/g, '$1:***@')
    .replace(/(\w+:\/\/[^\s:@/]*):[^\s@]*@/g, '$1:***@')
    .replace(/([?&](?:ssl)?password=)[^&\s"]*/gi, '$1***')
    .replace(/((?:^|[\s"'])(?:ssl)?password\s*=\s*)('(?:[^'\\]|\\.)*'|(?:[^\s'"\\]|\\.)+)/gi, '$1***')
}

const escaped = (character: string): string => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`
