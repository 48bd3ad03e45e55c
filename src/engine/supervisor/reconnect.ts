import { setTimeout as sleep } from 'node:timers/promises'
import type { ConnectionTarget } from '../database/target.js'
import { QueueError } from '../errors.js'
import { NewerSchemaError } from '../installed.js'
import { Control } from './control.js'

/** What a database that comes back would not say; a minute of it means that it will not come back. */
const LASTING = new Set([
  'LOGIN_REFUSED',
  'DATABASE_MISSING',
  'NOT_INSTALLED',
  'NOT_OWNER',
  'OTHER_DATABASE',
  'OLDER_SCHEMA',
])
const LASTING_LIMIT_MS = 60_000
const LOOK_EVERY_MS = 100
const FIRST_DELAY_MS = 100
const LAST_DELAY_MS = 3000
/** A host that is silent must not keep us long from the next of a list, or from who has its name by now; a slow one may answer in the end. */
const FIRST_CONNECT_MS = 5000

/** Tries for as long as it takes; undefined once `isPointless`. Errors: NEWER_SCHEMA, a lasting one that lasted a minute. */
export async function reconnect(
  target: ConnectionTarget,
  isPointless: () => boolean,
  firstDelayMs = 0,
): Promise<Control | undefined> {
  let lastingSince: number | undefined
  await pauseUnless(isPointless, firstDelayMs)
  let connectTimeoutMs = FIRST_CONNECT_MS
  for (let delayMs = FIRST_DELAY_MS; !isPointless(); delayMs = Math.min(delayMs * 2, LAST_DELAY_MS)) {
    try {
      return await Control.open(target, { connectTimeoutMs })
    } catch (error) {
      if (error instanceof NewerSchemaError) throw error
      const isLasting = error instanceof QueueError && LASTING.has(error.code)
      lastingSince = isLasting ? (lastingSince ?? performance.now()) : undefined
      if (lastingSince !== undefined && performance.now() - lastingSince > LASTING_LIMIT_MS) throw error
    }
    connectTimeoutMs += FIRST_CONNECT_MS
    await pauseUnless(isPointless, delayMs)
  }
  return undefined
}

async function pauseUnless(isPointless: () => boolean, delayMs: number): Promise<void> {
  const endsAt = performance.now() + delayMs
  while (performance.now() < endsAt && !isPointless())
    await sleep(Math.min(LOOK_EVERY_MS, endsAt - performance.now()))
}
