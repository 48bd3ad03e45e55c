import { cli } from './cli.js'
import { drain } from './drain.js'
import { enqueue } from './enqueue.js'
import { file } from './file.js'
import { growth } from './growth.js'
import { idle } from './idle.js'
import { limits } from './limits.js'
import { long } from './long.js'
import { pickup } from './pickup.js'
import { pinned } from './pinned.js'
import type { Scenario } from './scenario.js'
import { select1 } from './select1.js'
import { slots } from './slots.js'

/** In the order in which they are run. */
export const SCENARIOS: Scenario[] = [
  drain,
  select1,
  pickup,
  cli,
  enqueue,
  file,
  growth,
  pinned,
  limits,
  slots,
  idle,
  long,
]
