const WITH_OFFSET = /^(.+?)(\.\d+)?([+-])(\d\d)(?::(\d\d))?(?::(\d\d))?$/

/**
 * A timestamptz as the server writes it in DateStyle ISO, as ISO 8601 in UTC with the server's microseconds. Sessions
 * ask for UTC, but a pooler may hand out another zone's. infinity and years before Christ stay as they are.
 */
export function isoInstant(text: string): string {
  if (text.endsWith('+00')) return `${text.slice(0, -3).replace(' ', 'T')}Z`
  const [, local, fraction = '', sign, hours, minutes = 0, seconds = 0] = text.match(WITH_OFFSET) ?? []
  const offsetMs = (Number(hours) * 3600 + Number(minutes) * 60 + Number(seconds)) * 1000
  const utc = new Date(Date.parse(`${local?.replace(' ', 'T')}Z`) - (sign === '-' ? -offsetMs : offsetMs))
  if (Number.isNaN(utc.getTime())) return text.replace(' ', 'T')
  return `${utc.toISOString().slice(0, -'.000Z'.length)}${fraction}Z`
}
