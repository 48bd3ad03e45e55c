import { inject, type TestContext } from 'vitest'

/** Skips a test on servers older than the one that brought what it is about; the reason names both. */
export function needsPostgres(
  major: number,
  reason: string,
  ctx: Pick<TestContext, 'skip'>,
  here = inject('serverMajor'),
): void {
  if (here < major) ctx.skip(`PostgreSQL ${here}: ${reason} (from ${major} on)`)
}
